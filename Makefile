# SPDX-License-Identifier: MIT
#
# Builds every lab it finds: labs/NAME/NAME.c and common/*.c give
# build/labs/NAME/NAME. `make help` lists what else there is.

BUILD      ?= build
PREFIX     ?= /usr/local
PYTHON     ?= /usr/bin/python3
PKG_CONFIG ?= pkg-config
VERSION    := $(shell cat VERSION)

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wformat=2 \
	-Wno-missing-field-initializers
ifeq (,$(findstring clang,$(CC)))
WARNINGS += -Wno-format-truncation # texts are cut on purpose; clang has no such one
endif
CFLAGS   ?= -O2 -g
CPPFLAGS += -Icommon -D_GNU_SOURCE -DNSLABS_VERSION='"$(VERSION)"'
COMPILE   = $(CC) -std=gnu17 $(WARNINGS) $(CFLAGS) $(SAN_FLAGS) $(CPPFLAGS) -MMD -MP

# Every lab is a directory with a C program of its name. What it needs beyond
# libc stands in its lab.mk: PKGS = names for pkg-config.
ALL_LABS := $(patsubst labs/%/,%,$(sort $(wildcard labs/*/)))
ALL_LABS := $(foreach lab,$(ALL_LABS),$(if $(wildcard labs/$(lab)/$(lab).c),$(lab)))
pkgs      = $(strip $(shell sed -n 's/^PKGS *= *//p' labs/$(1)/lab.mk 2>/dev/null))
$(foreach lab,$(ALL_LABS),$(eval PKGS_$(lab) := $(call pkgs,$(lab))))
LABS     := $(ALL_LABS)

ifdef SAN
SAN_FLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
# Symbols are resolved once, before the forks, not again in every child.
LDFLAGS    += -Wl,-z,now
ifdef STATIC
LDFLAGS    += -static
PKG_STATIC := --static
# Some libraries have no static form (Debian's libmnl): leave their labs out.
links_statically = $(if $(1),$(shell echo 'int main(void) { return 0; }' | \
	$(CC) -static -xc - -o /dev/null $$($(PKG_CONFIG) --static --libs $(1)) \
	2>/dev/null && echo yes),yes)
LABS     := $(foreach lab,$(ALL_LABS),$(if $(call links_statically,$(PKGS_$(lab))),$(lab)))
LEFT_OUT := $(filter-out $(LABS),$(ALL_LABS))
$(if $(LEFT_OUT),$(info STATIC=1 leaves out, for want of a static library: $(LEFT_OUT)))
endif
ifneq (,$(findstring musl,$(CC)))
# musl's compiler sees neither the distribution's libraries nor the kernel's
# headers: build the labs that need libc alone, and lend it the headers.
LABS     := $(foreach lab,$(ALL_LABS),$(if $(PKGS_$(lab)),,$(lab)))
HEADERS  := $(BUILD)/kernel-headers
CPPFLAGS += -isystem $(HEADERS)
endif

COMMON  := $(patsubst common/%.c,$(BUILD)/common/%.o,$(wildcard common/*.c))
ifneq (,$(HEADERS))
COMMON  := $(filter-out $(BUILD)/common/rtnl.o,$(COMMON)) # needs libmnl
endif
BINARIES := $(foreach lab,$(LABS),$(BUILD)/labs/$(lab)/$(lab))

# A guest (nslab vm) has a first process of its own; and its labs start much faster
# under emulation when they need not be linked first: so, where libc is all they need.
GUEST_LABS := $(if $(SAN)$(STATIC),,$(foreach lab,$(LABS),$(if $(PKGS_$(lab)),,$(lab))))
GUEST      := $(BUILD)/guest/init $(GUEST_LABS:%=$(BUILD)/guest/labs/%)

# Quiet by default; V=1 shows the commands.
ifeq ($(V),)
say = @echo "  $(1)	$@";
endif

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help clean check lint format bench matrix fresh install FORCE

all: $(BINARIES) $(GUEST) ## build all labs (SAN=address,undefined STATIC=1 CC=musl-gcc BUILD=dir)

# What is built depends on how: another compiler or flag rebuilds.
HOW := $(CC) $(WARNINGS) $(CFLAGS) $(SAN_FLAGS) $(CPPFLAGS) $(LDFLAGS)
$(BUILD)/how: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(HOW))' | cmp -s - $@ || echo '$(subst ','\'',$(HOW))' > $@

$(BUILD)/kernel-headers:
	@mkdir -p $@
	ln -sf /usr/include/linux /usr/include/asm-generic $@/
	ln -sf $(firstword $(wildcard /usr/include/*-linux-gnu/asm /usr/include/asm)) $@/asm

$(BUILD)/common/%.o: common/%.c $(BUILD)/how | $(HEADERS)
	@mkdir -p $(@D)
	$(call say,CC)$(COMPILE) -c -o $@ $<

$(BUILD)/libcommon.a: $(COMMON)
	$(call say,AR)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/guest/init: $(wildcard scripts/guest/*.[ch]) $(BUILD)/how | $(HEADERS)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu17 $(WARNINGS) -O2 -D_GNU_SOURCE -static -s $(addprefix -isystem ,$(HEADERS)) -o $@ $(filter %.c,$^)

define lab_rules
OBJECTS_$(1) := $(patsubst %.c,$(BUILD)/%.o,$(wildcard labs/$(1)/*.c))
$$(OBJECTS_$(1)): $(BUILD)/labs/$(1)/%.o: labs/$(1)/%.c $(BUILD)/how $(wildcard labs/$(1)/lab.mk) | $(HEADERS)
	@mkdir -p $$(@D)
	$$(call say,CC)$$(COMPILE) $(if $(PKGS_$(1)),$$$$($$(PKG_CONFIG) --cflags $(PKGS_$(1)))) -c -o $$@ $$<
$(BUILD)/labs/$(1)/$(1): $$(OBJECTS_$(1)) $(BUILD)/libcommon.a
	$$(call say,LD)$$(CC) $$(CFLAGS) $$(SAN_FLAGS) $$(LDFLAGS) -o $$@ $$^ $(if $(PKGS_$(1)),$$$$($$(PKG_CONFIG) $$(PKG_STATIC) --libs $(PKGS_$(1))))
$(BUILD)/guest/labs/$(1): $(BUILD)/labs/$(1)/$(1)
	@mkdir -p $$(@D)
	$$(call say,LD)$$(CC) $$(CFLAGS) $$(LDFLAGS) -static -s -o $$@ $$(OBJECTS_$(1)) $(BUILD)/libcommon.a
endef
$(foreach lab,$(LABS),$(eval $(call lab_rules,$(lab))))

-include $(COMMON:.o=.d) $(wildcard $(BUILD)/labs/*/*.d)

check: all ## run the test suite
	$(PYTHON) -m pytest tests -n auto

bench: all ## measure against util-linux and the tutorial's scripts (ratios)
	$(PYTHON) scripts/bench $(BENCH)

matrix: all ## all labs on every kernel that can be had (fetches them)
	scripts/nslab vm fetch all
	scripts/nslab matrix --kernels fetched --strict --markdown docs/kernel-matrix.md

fresh: ## try scripts/run and scripts/test on a fresh Debian 12
	scripts/fresh-tree

C_FILES  := $(wildcard common/*.[ch] labs/*/*.[ch] tests/*/*.[ch] scripts/*/*.[ch])
SH_FILES  = $(shell grep -lsE '^\#!.*[ /](ba)?sh$$' scripts/* .ci/run lava/run debian/tests/*)
PY_FILES  = $(shell grep -lsE '^\#!.*python3' scripts/*) $(wildcard scripts/*/*.py scripts/*/*/*.py tests/*.py tests/*/*.py)

format: ## format the C and Python sources
	clang-format -i $(C_FILES)
	black -q $(PY_FILES)

lint: ## check format, C, shell and Python
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j2 \
		--enable=warning,performance,portability \
		--suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
		-Icommon -D_GNU_SOURCE -DCLONE_NEWTIME=128 common labs
	shellcheck $(SH_FILES)
	black -q --check $(PY_FILES)
	flake8 --max-line-length 88 --extend-ignore E203,W503 $(PY_FILES)
	cd scripts && mypy --strict nslabs
	MYPYPATH=scripts mypy tests

install: all ## install under PREFIX=/usr/local, staged in DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/nslabs/scripts/nslabs
	install -m 644 scripts/nslabs/*.py $(DESTDIR)$(PREFIX)/libexec/nslabs/scripts/nslabs
	install -d $(DESTDIR)$(PREFIX)/libexec/nslabs/scripts/nslabs/vm $(DESTDIR)$(PREFIX)/libexec/nslabs/guest/labs
	install -m 644 scripts/nslabs/vm/*.py $(DESTDIR)$(PREFIX)/libexec/nslabs/scripts/nslabs/vm
	install -m 755 $(BUILD)/guest/init $(DESTDIR)$(PREFIX)/libexec/nslabs/guest
	set -e; for lab in $(GUEST_LABS); do install -m 755 $(BUILD)/guest/labs/$$lab $(DESTDIR)$(PREFIX)/libexec/nslabs/guest/labs; done
	install -m 755 scripts/nslab $(DESTDIR)$(PREFIX)/libexec/nslabs/scripts
	install -m 644 VERSION $(DESTDIR)$(PREFIX)/libexec/nslabs
	install -m 644 scripts/packages.tsv $(DESTDIR)$(PREFIX)/libexec/nslabs/scripts
	ln -sf ../libexec/nslabs/scripts/nslab $(DESTDIR)$(PREFIX)/bin/nslab
	set -e; for lab in $(LABS); do \
		install -d $(DESTDIR)$(PREFIX)/libexec/nslabs/labs/$$lab \
			$(DESTDIR)$(PREFIX)/share/nslabs/labs/$$lab; \
		install -m 755 $(BUILD)/labs/$$lab/$$lab $(DESTDIR)$(PREFIX)/libexec/nslabs/labs/$$lab; \
		install -m 644 labs/$$lab/README.md labs/$$lab/*.c $$(ls labs/$$lab/lab.mk 2>/dev/null) $(DESTDIR)$(PREFIX)/share/nslabs/labs/$$lab; \
	done

clean: ## remove what was built
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

FORCE:
