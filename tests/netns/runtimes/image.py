"""image.py ROOTFS.tar NAME ENTRY OUT.tar: an image of one layer, as `ctr images import` and `podman load` take it."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def write(layer: bytes, name: str, entry: list[str], path: Path) -> None:
    """In the format of `docker save`."""
    config = json.dumps({
        'architecture': 'amd64', 'os': 'linux', 'config': {'Entrypoint': entry, 'Env': ['PATH=/bin']},
        'rootfs': {'type': 'layers', 'diff_ids': [f'sha256:{hashlib.sha256(layer).hexdigest()}']},
        'history': [{'created_by': 'lab'}]}).encode()
    of_config, of_layer = hashlib.sha256(config).hexdigest(), hashlib.sha256(layer).hexdigest()
    manifest = [{'Config': f'{of_config}.json', 'RepoTags': [name], 'Layers': [f'{of_layer}/layer.tar']}]
    with tarfile.open(path, 'w') as tar:
        for member, data in ((f'{of_config}.json', config), (f'{of_layer}/layer.tar', layer),
                             ('manifest.json', json.dumps(manifest).encode())):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


if __name__ == '__main__':
    rootfs, name, entry, out = sys.argv[1:]
    write(Path(rootfs).read_bytes(), name, entry.split(), Path(out))
