PKGS = libmnl
