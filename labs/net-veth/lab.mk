PKGS = libmnl
MODULES = veth
