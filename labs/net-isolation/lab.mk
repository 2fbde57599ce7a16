PKGS = libmnl
MODULES = nf_tables
