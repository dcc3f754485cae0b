"""Huffman decoding (RFC 7541 §5.2, appendix B), a byte at a time.

The code is a binary tree of 256 inner nodes. For a node and the next whole byte, a row says which node comes next and
which symbols were passed on the way. Rows are made when first needed: text stays within a few dozen of them.
There is no encoder: for values that are remembered or vary, sending them raw is cheaper at both ends.
"""

from __future__ import annotations

import functools

from remora.sidecar.wire.hpack.errors import HpackError

EOS = 256
REMEMBERED_BYTES = 64
"""Longer strings are decoded each time: keeps what is remembered small, whatever peers send."""

CODE_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b080606060505"
    "050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f050605"
    "06050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817181816171817"
    "1717171516171617171816151416161717151716161815161717151516151716171714161616171616171a1a141316171619"
    "1a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c"
    "1b1b1b1b1b1a1e"
)
"""Bits of each symbol's code. It is canonical, so the lengths say it all: codes of one length follow the symbols."""

CodeTree = list[list[int]]
"""Node → its two children; one >= 0 is a node, a negative one the symbol ~child."""


def _code_tree() -> CodeTree:
    tree: CodeTree = [[0, 0]]
    code = 0
    length = 0
    for symbol in sorted(range(EOS + 1), key=lambda s: (CODE_LENGTHS[s], s)):
        code <<= CODE_LENGTHS[symbol] - length
        length = CODE_LENGTHS[symbol]
        _add_leaf(tree, code, length, symbol)
        code += 1
    return tree


def _add_leaf(tree: CodeTree, code: int, length: int, symbol: int) -> None:
    node = 0
    for shift in range(length - 1, 0, -1):
        bit = code >> shift & 1
        if not tree[node][bit]:
            tree.append([0, 0])
            tree[node][bit] = len(tree) - 1
        node = tree[node][bit]
    tree[node][code & 1] = ~symbol


class _Row:
    """One node's steps: for each next byte the symbols (None: an EOS, which is an error) and the node after it."""

    __slots__ = ("nodes", "symbols")

    def __init__(self, tree: CodeTree, node: int) -> None:
        steps = [_step(tree, node, byte) for byte in range(256)]
        self.symbols: list[bytes | None] = [symbols for symbols, _ in steps]
        self.nodes = bytes(after for _, after in steps)


def _step(tree: CodeTree, node: int, byte: int) -> tuple[bytes | None, int]:
    symbols = b""
    for shift in range(7, -1, -1):
        child = tree[node][byte >> shift & 1]
        if child >= 0:
            node = child
            continue
        if ~child == EOS:
            return None, 0
        symbols += bytes((~child,))
        node = 0
    return symbols, node


class HuffmanDecoder:
    __slots__ = ("_paddings", "_rows", "_tree")

    def __init__(self) -> None:
        self._tree = _code_tree()
        self._rows: list[_Row | None] = [None] * len(self._tree)
        # Padding is up to seven bits of the EOS code, which is all ones.
        node = 0
        nodes = [node]
        for _ in range(7):
            node = self._tree[node][1]
            nodes.append(node)
        self._paddings = frozenset(nodes)

    def decode(self, data: bytes) -> bytes:
        """The string that `data` codes. Raises HpackError for an EOS or padding other than under eight ones."""
        rows = self._rows
        node = 0
        parts: list[bytes] = []
        for byte in data:
            row = rows[node] or self._make_row(node)
            symbols = row.symbols[byte]
            if symbols is None:
                raise HpackError("a Huffman string holds the EOS symbol")
            parts.append(symbols)
            node = row.nodes[byte]
        if node not in self._paddings:
            raise HpackError("a Huffman string is not padded with ones, or by a whole byte")
        return b"".join(parts)

    def _make_row(self, node: int) -> _Row:
        row = self._rows[node] = _Row(self._tree, node)
        return row


_DECODER = HuffmanDecoder()
_decode_remembered = functools.lru_cache(maxsize=1024)(_DECODER.decode)


def huffman_decode(data: bytes) -> bytes:
    """Decode; short strings are remembered. Raises HpackError."""
    if len(data) <= REMEMBERED_BYTES:
        return _decode_remembered(data)
    return _DECODER.decode(data)
