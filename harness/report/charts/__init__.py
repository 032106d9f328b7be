"""Charts: plain frames in, one figure out; sections choose the rows and write the captions."""
