"""People on pictures, found and blurred before anything is kept; and counts of people that tell nothing about one of them."""
