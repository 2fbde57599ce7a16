"""Labs on other kernels: get a kernel, pack a guest, boot it, read its results."""
