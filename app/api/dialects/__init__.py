"""What clients speak: one file per inbound dialect; `base` is the seam and the table of them."""
