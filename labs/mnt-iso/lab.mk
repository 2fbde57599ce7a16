PKGS = mount
