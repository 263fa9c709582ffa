import json

import pytest

from hive_datasets import Ontology, OntologyError
from hive_datasets.ontology import OntologyNode, audioset_classes, find_ontology


@pytest.fixture(scope="module", params=["hive", "audioset"])
def both(request, shared):
    """An ontology as it ships, and the rows of the file that it is made of."""
    rows = json.loads((shared / f"{request.param}_ontology.json").read_text())
    return find_ontology(request.param), {row["id"]: row for row in rows}


def test_it_has_what_the_file_has(both):
    ontology, rows = both
    found = [
        {"id": n.id, "name": n.name, "child_ids": list(n.child_ids), "restrictions": list(n.restrictions)}
        for n in ontology
    ]
    assert found == list(rows.values())


def test_every_relation_of_every_node(both):
    """Against the definitions, one by one."""
    ontology, rows = both

    def below(id):
        return (
            set().union(*({child} | below(child) for child in rows[id]["child_ids"]))
            if rows[id]["child_ids"]
            else set()
        )

    names = {id: row["name"] for id, row in rows.items()}
    for id, name in names.items():
        parents = {other for other, row in rows.items() if id in row["child_ids"]}
        siblings = {child for parent in parents for child in rows[parent]["child_ids"]} - {id}
        leaves = {each for each in below(id) | {id} if not rows[each]["child_ids"]}
        assert ontology.children(name) == [names[child] for child in rows[id]["child_ids"]]
        for found, expected in (
            (ontology.parents(id), parents),
            (ontology.siblings(id), siblings),
            (ontology.descendants(name), below(id)),
            (ontology.ancestors(name), {other for other in rows if id in below(other)}),
            (ontology.leaves(name), leaves),
        ):
            assert sorted(found) == sorted(names[each] for each in expected)
        assert ontology.is_leaf(name) == (not rows[id]["child_ids"])
        assert ontology.id_of(name) == ontology.id_of(id) == id
        assert ontology.name_of(id) == name and name in ontology and id in ontology


def test_how_many():
    hive, audioset = Ontology.hive(), Ontology.audioset()
    assert (len(hive), len(hive.leaves()), len(hive.roots())) == (354, 295, 6)
    assert (len(audioset), len(audioset.leaves()), len(audioset.roots())) == (632, 474, 7)
    assert sum(len(hive.parents(node.id)) > 1 for node in hive) == 24
    assert sum("blacklist" in hive.restrictions(leaf) for leaf in hive.leaves()) == 8


def test_ancestors_come_the_nearest_first():
    nodes = [
        OntologyNode("a", "A", ("b", "c")),
        OntologyNode("b", "B", ("d",)),
        OntologyNode("c", "C", ("e",)),
        OntologyNode("d", "D", ("e",)),
        OntologyNode("e", "E"),
    ]
    assert Ontology(nodes).ancestors("E") == ["C", "D", "A", "B"]


def test_the_classes_of_audioset():
    """In the order of a walk down the ontology, each at its first place."""
    audioset, walked = Ontology.audioset(), {}

    def walk(name):
        if name not in walked:
            walked[name] = None
            for child in audioset.children(name):
                walk(child)

    for root in audioset.roots():
        walk(root)
    classes = audioset_classes()
    assert len(set(classes)) == 527
    assert [name for name in walked if name in classes] == list(classes)
    known = {
        0: "Speech",
        72: "Animal",
        137: "Music",
        288: "Water",
        300: "Vehicle",
        500: "Silence",
        526: "Field recording",
    }
    assert {number: classes[number] for number in known} == known


def test_a_file_in_audiosets_format(shared, tmp_path):
    assert [node.name for node in Ontology.load(shared / "hive_ontology.json")] == [n.name for n in Ontology.hive()]
    assert len(find_ontology(str(shared / "audioset_ontology.json"))) == 632


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"id": "a", "name": "A"}, {"id": "a", "name": "B"}], r"'B' \(a\) is there twice"),
        ([{"id": "a", "name": "A"}, {"id": "b", "name": "A"}], r"'A' \(b\) is there twice"),
        ([{"id": "a", "name": "A", "child_ids": ["z"]}], "'A' has the child z, which is not there"),
        ([{"id": "a", "name": "A", "child_ids": ["b"]}, {"id": "b", "name": "B", "child_ids": ["a"]}], "below itself"),
        ([{"name": "A"}], "no ontology in AudioSet's format"),
        ([{"id": 1, "name": "A"}], "must be text"),
        ({"a": 1}, "no ontology in AudioSet's format"),
    ],
)
def test_files_that_are_none(tmp_path, nodes, message):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(nodes))
    with pytest.raises(OntologyError, match=message):
        Ontology.load(file)


def test_what_is_not_there(tmp_path):
    with pytest.raises(OntologyError, match="Hive's ontology has no 'Barq'"):
        Ontology.hive().children("Barq")
    with pytest.raises(OntologyError, match=r"nowhere.json is not there .* 'hive', 'audioset'"):
        find_ontology("nowhere.json")
    assert "Barq" not in Ontology.hive() and 3 not in Ontology.hive()
