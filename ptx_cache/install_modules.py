#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Install the shipped modules: what the stamps list, checked against its digest on the way.

usage (by Meson): install_modules.py MODULE_FOLDER FOLDER_BELOW_PREFIX STAMP...

Files become 0644 and folders 0755 whatever the umask: the library loads modules only from folders that nobody else can
write to.
"""
import hashlib
import os
import sys

sys.dont_write_bytecode = True
import module_stamp


def install(source, target, digest, stamp):
    try:
        with open(source, "rb") as file:
            content = file.read()
    except OSError as reason:
        sys.exit(f"install_modules.py: {source} cannot be read ({reason.strerror}); delete {stamp} and build again")
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"install_modules.py: {source} is not what its stamp says; delete {stamp} and build again")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.chmod(os.path.dirname(target), 0o755)
    with open(target + ".part", "wb") as file:
        file.write(content)
    os.chmod(target + ".part", 0o644)
    os.replace(target + ".part", target)


def main(modules, below_prefix, stamps):
    root = os.path.join(os.environ["MESON_INSTALL_DESTDIR_PREFIX"], below_prefix)
    count = 0
    for stamp in stamps:
        for row in module_stamp.read(os.path.join(os.environ.get("MESON_BUILD_ROOT", ""), stamp)):
            if "MESON_INSTALL_DRY_RUN" not in os.environ:
                install(os.path.join(modules, row.file), os.path.join(root, row.file), row.digest, stamp)
            count += 1
    if "MESON_INSTALL_QUIET" not in os.environ:
        print(f"Installing {count} modules to {root}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
