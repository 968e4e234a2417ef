"""What the product detector learns from and what it is: rendered scenes, real ones, the network, its losses."""
