PKGS = mount
MODULES = loop isofs
TOOLS = genisoimage fuseiso
