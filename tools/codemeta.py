"""Write codemeta.json, the same facts as in CITATION.cff and pyproject.toml in the words of schema.org.

Usage: python tools/codemeta.py. A test compares the file with what this makes.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]


def metadata(root: Path) -> dict[str, Any]:
    """Returns the content of codemeta.json.

    Args:
        root: the project, with CITATION.cff and pyproject.toml.

    Returns:
        Plain JSON data, as CodeMeta 3.0 has it.
    """
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    paper = citation["preferred-citation"]
    found = {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": citation["title"],
        "identifier": project["name"],
        "description": project["description"],
        "version": citation["version"],
        "license": f"https://spdx.org/licenses/{citation['license']}",
        "keywords": citation["keywords"],
        "author": [_author(author) for author in citation["authors"]],
        "programmingLanguage": f"Python {project['requires-python']}",
        "referencePublication": {
            "@type": "ScholarlyArticle",
            "name": paper["title"],
            "author": [_author(author) for author in paper["authors"]],
            "datePublished": str(paper["year"]),
            "url": paper["url"],
        },
    }
    return found | ({"codeRepository": citation["repository-code"]} if "repository-code" in citation else {})


def _author(author: dict[str, str]) -> dict[str, str]:
    if "name" in author:
        return {"@type": "Organization", "name": author["name"]}
    return {"@type": "Person", "givenName": author["given-names"], "familyName": author["family-names"]}


def text(root: Path) -> str:
    """Returns codemeta.json as it is written."""
    return json.dumps(metadata(root), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (ROOT / "codemeta.json").write_text(text(ROOT), encoding="utf-8")
    sys.exit()
