"""A small CRI client: /runtime.v1.RuntimeService over gRPC, its messages encoded by hand (python3-grpcio only).

cri.py SOCKET ready | run POD NAMESPACE UID CONTAINER=COMMAND... | remove ID...
`run` prints '- ID' for the pod and 'CONTAINER ID' for each container.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import grpc

IMAGE = 'docker.io/library/lab:1'
PREFIX = 'io.kubernetes.'


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def mapping(number: int, pairs: Mapping[str, str]) -> bytes:
    return b''.join(field(number, field(1, key) + field(2, value)) for key, value in pairs.items())


def first(message: bytes) -> str:
    """The text in field 1 of an answer, which begins with it and is shorter than 128 bytes."""
    assert message[0] == 0x0a, message
    return message[2:2 + message[1]].decode()


class Cri:
    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f'unix://{socket}')

    def call(self, method: str, message: bytes = b'') -> bytes:
        answer: bytes = self._channel.unary_unary(f'/runtime.v1.RuntimeService/{method}')(message, timeout=60)
        return answer

    def is_ready(self) -> bool:
        """Has it a configuration of the network? RuntimeStatus: conditions of (type, status, reason ...)."""
        return b'NetworkReady\x10\x01' in self.call('Status')

    def run(self, name: str, namespace: str, uid: str, commands: Mapping[str, list[str]]) -> None:
        labels = {f'{PREFIX}pod.name': name, f'{PREFIX}pod.namespace': namespace, f'{PREFIX}pod.uid': uid}
        logs = f'/var/log/pods/{namespace}_{name}_{uid}'
        cgroup = field(1, f'/kubepods/burstable/pod{uid}')
        config = (field(1, field(1, name) + field(2, uid) + field(3, namespace)) + field(2, name) + field(3, logs)
                  + mapping(6, labels) + field(8, cgroup + field(2, field(1, field(1, 0)))))
        pod = first(self.call('RunPodSandbox', field(1, config)))
        print('-', pod)
        for container, command in commands.items():
            own = (field(1, field(1, container)) + field(2, field(1, IMAGE))
                   + b''.join(field(3, word) for word in command)
                   + mapping(9, {**labels, f'{PREFIX}container.name': container}) + field(11, f'{container}_0.log'))
            made = first(self.call('CreateContainer', field(1, pod) + field(2, own) + field(3, config)))
            self.call('StartContainer', field(1, made))
            print(container, made)

    def remove(self, pod: str) -> None:
        self.call('StopPodSandbox', field(1, pod))
        self.call('RemovePodSandbox', field(1, pod))


if __name__ == '__main__':
    cri, verb, words = Cri(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if verb == 'ready':
        sys.exit(not cri.is_ready())
    elif verb == 'remove':
        for one in words:
            cri.remove(one)
    else:
        cri.run(*words[:3], {word.partition('=')[0]: word.partition('=')[2].split() for word in words[3:]})
