PKGS = mount
MODULES = loop isofs fuse
