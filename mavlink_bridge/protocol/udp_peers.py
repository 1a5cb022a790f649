# SPDX-License-Identifier: Apache-2.0
"""The peers that a UDP server sends to.

A peer is the sender of a valid frame within the last ten seconds; eight have a place. The followed
autopilot always has one more; a place that is taken goes to a peer of a higher rank. A stranger
thereby displaces neither the vehicle nor its ground station.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

PEER_AGE_S = 10.0
PEERS_MAX = 8
_V1 = 0xFE
_V2 = 0xFD
_HEADS = {_V1: 6, _V2: 10}  # bytes of a header with its magic
_CHECKSUM_BYTES = 2

UdpAddress = Any  # of socket.recvfrom


class PeerRank(IntEnum):
    """Which peer keeps its place."""

    STRANGER = 0
    ACCEPTED = 1  # of the vehicle's system, or of an accepted one
    FOLLOWED = 2  # the autopilot


@dataclass(slots=True)
class _Peer:
    rank: PeerRank
    received_s: float


class UdpPeers:
    """Table of the peers of one server."""

    def __init__(self) -> None:
        self._peers: dict[UdpAddress, _Peer] = {}
        self._followed: UdpAddress | None = None
        self._refused_s: float | None = None

    def add(self, address: UdpAddress, rank: PeerRank, now_s: float) -> None:
        """Note a valid frame of a sender with this rank."""
        followed = self._peers.get(self._followed)
        if rank is PeerRank.FOLLOWED and address != self._followed:
            # Another address that claims to be the autopilot waits until the first one is silent.
            if followed is None:
                self._followed = address
            else:
                rank = PeerRank.ACCEPTED
        peer = self._peers.get(address)
        if peer is not None:
            peer.rank = max(peer.rank, rank)
            peer.received_s = now_s
        elif address == self._followed or self._make_room(rank):
            self._peers[address] = _Peer(rank, now_s)
        else:
            self._refused_s = now_s

    def addresses(self, now_s: float) -> list[UdpAddress]:
        """Addresses to send to."""
        for address, peer in list(self._peers.items()):
            if now_s - peer.received_s > PEER_AGE_S:
                del self._peers[address]
                if address == self._followed:
                    self._followed = None
        if self._refused_s is not None and now_s - self._refused_s > PEER_AGE_S:
            self._refused_s = None
        return list(self._peers)

    def __contains__(self, address: object) -> bool:
        return address in self._peers

    def warning(self) -> str | None:
        """Report that there is no peer, or no place for one."""
        if not self._peers:
            return f"no valid frame received within {PEER_AGE_S:g} s"
        if self._refused_s is not None:
            return f"more than {PEERS_MAX} peers: some are not sent to"
        return None

    def _make_room(self, rank: PeerRank) -> bool:
        others = {at: peer for at, peer in self._peers.items() if at != self._followed}
        if len(others) < PEERS_MAX:
            return True
        lowest = min(others, key=lambda at: (others[at].rank, others[at].received_s))
        if others[lowest].rank >= rank:
            return False
        del self._peers[lowest]
        return True


class Datagram(bytes):
    """A datagram with its sender."""

    peers: UdpPeers
    address: UdpAddress

    @classmethod
    def of(cls, data: bytes, peers: UdpPeers, address: UdpAddress) -> "Datagram":
        """The data of a sender."""
        made = cls(data)
        made.peers = peers
        made.address = address
        return made

    @property
    def has_place(self) -> bool:
        """Whether the sender is a peer."""
        return self.address in self.peers

    def raise_rank(self, rank: PeerRank, now_s: float) -> None:
        """Note the rank of the sender, found by what it sends."""
        self.peers.add(self.address, rank, now_s)


def begins_with_frame(data: bytes) -> bool:
    """Whether a datagram begins with a MAVLink frame of a known message and a right checksum."""
    head = _HEADS.get(data[0], 0) if data else 0
    if not head or len(data) < head:
        return False
    end = head + data[1]
    number = data[5] if head == _HEADS[_V1] else int.from_bytes(data[7:10], "little")
    row = mavlink.mavlink_map.get(number)
    if row is None or len(data) < end + _CHECKSUM_BYTES:
        return False
    checksum = mavlink.x25crc(data[1:end])
    checksum.accumulate(bytes([row.crc_extra]))
    return bool(checksum.crc == int.from_bytes(data[end : end + _CHECKSUM_BYTES], "little"))
