"""A printer of invented packages for training: type, pictures and shapes drawn by the CPU, views of them made in batches by torch.

`gather` collects typefaces, words and pictograms; `stock` reads them; `design` invents families of products; `art`
prints their labels;
`package` gives them shapes; `press` runs all this in processes of its own; `views`, `scene` and `camera` photograph the result.
"""
