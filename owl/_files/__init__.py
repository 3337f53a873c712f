"""Arrays in files: `owl.save`, `owl.load`, and the pieces that `owl.aio` and the programs make theirs of."""
