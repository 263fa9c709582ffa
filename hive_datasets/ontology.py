"""Ontologies of sounds: which kinds of sound are kinds of others.

An ontology is a directed acyclic graph, not a tree: a node may have several parents, all of which count.
"""

from __future__ import annotations

import functools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import OntologyError, describe


@dataclass(frozen=True)
class OntologyNode:
    """A kind of sound.

    Attributes:
        id: such as "/m/0jbk".
        name: such as "Animal".
        child_ids: ids of the kinds of it, in the ontology's order.
        restrictions: "abstract" (no label of clips), "blacklist" (left out of AudioSet's labels), or none.
    """

    id: str
    name: str
    child_ids: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()


class Ontology:
    """A graph of kinds of sound.

    Everywhere, a node is given by its name or its id, and answers are names, in the order of the ontology's file.

    Args:
        nodes: of every kind of sound.
        title: what errors call it.

    Raises:
        OntologyError: a node is there twice, has a child that is not there, or is below itself; or, of methods, there
            is no such node.

    Example:
        >>> audioset = Ontology.audioset()
        >>> audioset.parents("Hiss"), audioset.ancestors("Purr"), audioset.siblings("Purr")[:2]
        (['Cat', 'Snake', 'Steam', 'Onomatopoeia'], ['Cat', 'Domestic animals, pets', 'Animal'], ['Growling', 'Meow'])
        >>> hive = Ontology.hive()
        >>> len(hive), len(hive.leaves()), len(hive.roots())
        (354, 295, 6)
    """

    def __init__(self, nodes: Iterable[OntologyNode], title: str = "the ontology") -> None:
        self.title = title
        self._nodes: dict[str, OntologyNode] = {}
        self._ids: dict[str, str] = {}
        self._parents: dict[str, list[str]] = {}
        for node in nodes:
            if node.id in self._nodes or node.name in self._ids:
                raise OntologyError(f"{title}: {node.name!r} ({node.id}) is there twice")
            self._nodes[node.id] = node
            self._ids[node.name] = node.id
        for node in self._nodes.values():
            for child in node.child_ids:
                if child not in self._nodes:
                    raise OntologyError(f"{title}: {node.name!r} has the child {child}, which is not there")
                self._parents.setdefault(child, []).append(node.id)
        self._order = {id: number for number, id in enumerate(self._nodes)}
        self._check_acyclic()

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Ontology:
        """Read a JSON file in AudioSet's format: a list of nodes: ``id``, ``name``, ``child_ids``, ``restrictions``.

        Raises:
            OntologyError: it is not such a file.
            OSError: it cannot be read.

        Example:
            >>> import json, tempfile
            >>> file = Path(tempfile.mkdtemp()) / "mine.json"
            >>> nodes = [{"id": "a", "name": "Bell", "child_ids": ["b"]}, {"id": "b", "name": "Church bell"}]
            >>> _ = file.write_text(json.dumps(nodes))
            >>> Ontology.load(file).leaves("Bell")
            ['Church bell']
        """
        return cls(_parse_nodes(Path(file).read_text(encoding="utf-8"), str(file)), str(file))

    @classmethod
    @functools.cache
    def hive(cls) -> Ontology:
        """Hive's ontology: 354 nodes, 295 leaves, which is AudioSet's with fewer children."""
        return cls(_parse_nodes(_read_shipped("hive_ontology.json"), "Hive's ontology"), "Hive's ontology")

    @classmethod
    @functools.cache
    def audioset(cls) -> Ontology:
        """AudioSet's ontology: 632 nodes, 474 leaves."""
        return cls(_parse_nodes(_read_shipped("audioset_ontology.json"), "AudioSet's ontology"), "AudioSet's ontology")

    def __contains__(self, node: object) -> bool:
        return node in self._nodes or node in self._ids

    def __iter__(self) -> Iterator[OntologyNode]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"<Ontology {self.title}: {len(self)} nodes>"

    def find(self, node: str) -> OntologyNode:
        """The node of that name or id."""
        found = self._nodes.get(self._ids.get(node, node))
        if found is None:
            raise OntologyError(f"{self.title} has no {node!r}")
        return found

    def name_of(self, node: str) -> str:
        """Its name."""
        return self.find(node).name

    def id_of(self, node: str) -> str:
        """Its id."""
        return self.find(node).id

    def restrictions(self, node: str) -> tuple[str, ...]:
        """What restricts its use, if anything: "abstract", "blacklist"."""
        return self.find(node).restrictions

    def is_leaf(self, node: str) -> bool:
        """Whether nothing is below it."""
        return not self.find(node).child_ids

    def roots(self) -> list[str]:
        """The nodes without parents."""
        return [node.name for node in self if node.id not in self._parents]

    def children(self, node: str) -> list[str]:
        """The kinds of it, one level below."""
        return [self._nodes[id].name for id in self.find(node).child_ids]

    def parents(self, node: str) -> list[str]:
        """All that it is a kind of, one level above."""
        return self._names(self._parents.get(self.id_of(node), ()))

    def siblings(self, node: str) -> list[str]:
        """The other children of all its parents; the other roots, of a root, are none."""
        id = self.id_of(node)
        beside = {child for parent in self._parents.get(id, ()) for child in self._nodes[parent].child_ids}
        return self._names(beside - {id})

    def descendants(self, node: str) -> list[str]:
        """All below it."""
        return self._names(self._walk(self.id_of(node), {node.id: node.child_ids for node in self}))

    def ancestors(self, node: str) -> list[str]:
        """All above it, the nearest first; of equally near ones, those first that the file has first."""
        return [self._nodes[id].name for id in self._walk(self.id_of(node), self._parents)]

    def leaves(self, node: str | None = None) -> list[str]:
        """The leaves below it, itself if it is one; of None, all."""
        if node is None:
            return [each.name for each in self if not each.child_ids]
        if self.is_leaf(node):
            return [self.name_of(node)]
        return [name for name in self.descendants(node) if self.is_leaf(name)]

    def _names(self, ids: Iterable[str]) -> list[str]:
        return [self._nodes[id].name for id in sorted(set(ids), key=self._order.__getitem__)]

    def _walk(self, start: str, edges: Mapping[str, Iterable[str]]) -> list[str]:
        """The ids that edges lead to, level by level, without the first."""
        found, level = [start], [start]
        while level:
            following = {id for each in level for id in edges.get(each, ())} - set(found)
            level = sorted(following, key=self._order.__getitem__)
            found += level
        return found[1:]

    def _check_acyclic(self) -> None:
        """Kahn's algorithm: take away roots until none is left."""
        waiting = {id: len(self._parents.get(id, ())) for id in self._nodes}
        free = deque(id for id, parents in waiting.items() if not parents)
        while free:
            id = free.popleft()
            del waiting[id]
            for child in self._nodes[id].child_ids:
                waiting[child] -= 1
                if not waiting[child]:
                    free.append(child)
        if waiting:
            raise OntologyError(f"{self.title}: {self._nodes[next(iter(waiting))].name!r} is below itself")


def find_ontology(name: str | os.PathLike[str]) -> Ontology:
    """The ontology "hive", "audioset", or of a file.

    Raises:
        OntologyError: the file is not there, or is none.

    Example:
        >>> find_ontology("hive")
        <Ontology Hive's ontology: 354 nodes>
    """
    if name == "hive":
        return Ontology.hive()
    if name == "audioset":
        return Ontology.audioset()
    return _load(os.fspath(name))


@functools.cache
def _load(file: str) -> Ontology:
    try:
        return Ontology.load(file)
    except OSError as error:
        message = f"{file} is not there ({describe(error)}): give 'hive', 'audioset', or a file in AudioSet's format"
        raise OntologyError(message) from None


@functools.cache
def audioset_classes() -> tuple[str, ...]:
    """The names of the 527 classes that AudioSet's taggers tell, in the order of their outputs.

    Example:
        >>> classes = audioset_classes()
        >>> len(classes), classes[0], classes[137], classes[526]
        (527, 'Speech', 'Music', 'Field recording')
    """
    ids = json.loads(_read_shipped("audioset_classes.json"))
    return tuple(map(Ontology.audioset().name_of, ids))


def _read_shipped(name: str) -> str:
    return resources.files("hive_datasets.metadata").joinpath(name).read_text(encoding="utf-8")


def _parse_nodes(text: str, where: str) -> list[OntologyNode]:
    try:
        return [_parse_node(row) for row in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{where} is no ontology in AudioSet's format, a list of nodes with id, name and child_ids: {error!r}"
        raise OntologyError(message) from None


def _parse_node(row: Mapping[str, Any]) -> OntologyNode:
    id, name, children = row["id"], row["name"], tuple(row.get("child_ids") or ())
    if not isinstance(id, str) or not isinstance(name, str) or not all(isinstance(child, str) for child in children):
        raise TypeError(f"id, name and child_ids must be text: {row!r}")
    return OntologyNode(id, name, tuple(dict.fromkeys(children)), tuple(row.get("restrictions") or ()))
