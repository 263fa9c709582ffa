"""A local server that speaks the part of the Hub's HTTP API by which a dataset repository is read and written.

Run as a module, it prints its address and serves until its standard input closes::

    python -m tests.hub_server REPO_ID FOLDER
"""

import base64
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.local_server import LocalServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(LocalServer):
    """Serves one dataset repository from a folder, and writes what is committed into it; counts what is asked for."""

    def __init__(self, repo_id, folder):
        super().__init__(Handler)
        self.repo_id, self.folder = repo_id, Path(folder)
        self.requests = []
        self.created = []  # what was asked for when a repository was made
        self.objects = {}  # large files, by hash
        self.is_full = False  # and takes nothing more

    def files(self):
        return {str(file.relative_to(self.folder)): file for file in sorted(self.folder.rglob("*")) if file.is_file()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.route()

    def do_GET(self):
        self.route()

    def do_POST(self):
        self.route()

    def do_PUT(self):
        self.route()

    def write(self, path, body):
        """What is not just read: makes the repository, takes large files and commits."""
        repo_id = self.server.repo_id
        if self.server.is_full:
            return self.send_json({"error": "Storage limit reached"}, 403)
        if path == "/api/repos/create":
            asked = json.loads(body)
            if f"{asked.get('organization')}/{asked['name']}" != repo_id or asked["type"] != "dataset":
                return self.send_json({"error": "You don't have the rights to create it"}, 403)
            self.server.created.append(asked)
            return self.send_json({"url": f"{self.server.url}/datasets/{repo_id}"})
        if path == "/api/validate-yaml":
            return self.send_json({"errors": [], "warnings": []})
        if path == f"/api/datasets/{repo_id}/preupload/main":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.send_json({"files": files})
        if path == f"/datasets/{repo_id}.git/info/lfs/objects/batch":
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.server.url}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            return self.send_json({"transfer": "basic", "objects": objects})
        if path.startswith("/lfs/") and hashlib.sha256(body).hexdigest() == path[5:]:
            self.server.objects[path[5:]] = body
            return self.send_json({})
        if path == f"/api/datasets/{repo_id}/commit/main":
            for entry in map(json.loads, body.splitlines()):
                value = entry["value"]
                if entry["key"] == "header":
                    continue
                if entry["key"] == "deletedFile":
                    (self.server.folder / value["path"]).unlink()
                    continue
                is_large = entry["key"] == "lfsFile"
                content = self.server.objects[value["oid"]] if is_large else base64.b64decode(value["content"])
                file = self.server.folder / value["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            url = f"{self.server.url}/datasets/{repo_id}/commit/{COMMIT}"
            return self.send_json({"success": True, "commitOid": COMMIT, "commitUrl": url})
        return self.send_json({"error": f"no {path}"}, 404)

    def route(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        api = f"/api/datasets/{self.server.repo_id}"
        if path == "/api/whoami-v2":
            return self.send_json({"name": "me", "orgs": [{"name": "ours"}]})
        if self.command in ("POST", "PUT") and "/paths-info/" not in path:
            return self.write(path, body)
        if path == api or path.startswith(f"{api}/revision/"):
            if path != api and path.rsplit("/", 1)[1] not in {"main", COMMIT}:
                return self.send_json({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": name} for name in self.server.files()]
            info = {"id": self.server.repo_id, "sha": COMMIT, "private": False, "gated": False, "disabled": False}
            info |= {
                "siblings": siblings,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "lastModified": "2026-01-01T00:00:00.000Z",
            }
            return self.send_json(info)
        if path.startswith(f"{api}/tree/"):
            inside = path[len(f"{api}/tree/") :].partition("/")[2]
            return self.send_json(self.list_tree(inside, "true" in str(parse_qs(urlsplit(self.path).query)).lower()))
        if path.startswith(f"{api}/paths-info/"):
            names = parse_qs(body.decode()).get("paths") or json.loads(body or "{}").get("paths", [])
            return self.send_json([entry for name in names for entry in self.path_info(name)])
        prefix = f"/datasets/{self.server.repo_id}/resolve/"
        name = path[len(prefix) :].partition("/")[2] if path.startswith(prefix) else None
        if name in self.server.files():
            return self.send_file(self.server.files()[name])
        return self.send_json(
            {"error": "Not found"}, 404, {"X-Error-Code": "EntryNotFound" if name else "RepoNotFound"}
        )

    def entry(self, name, file):
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        lfs = {"oid": digest, "size": len(content), "pointerSize": 130}
        return {"type": "file", "path": name, "size": len(content), "oid": digest[:40], "lfs": lfs}

    def list_tree(self, inside, recursive):
        entries, folders = [], {}
        for name, file in self.server.files().items():
            if inside and not name.startswith(inside + "/"):
                continue
            rest = name[len(inside) + 1 :] if inside else name
            parents = rest.split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                folder = "/".join(filter(None, [inside, *parents[:depth]]))
                folders.setdefault(folder, depth)
            if recursive or not parents:
                entries.append(self.entry(name, file))
        shown = [folder for folder, depth in folders.items() if recursive or depth == 1]
        return [{"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in shown] + entries

    def path_info(self, name):
        files = self.server.files()
        if name in files:
            return [self.entry(name, files[name])]
        if any(other.startswith(name + "/") for other in files):
            return [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40}]
        return []

    def send_json(self, value, status=200, headers=()):
        self.send_body(json.dumps(value).encode(), status, {"Content-Type": "application/json", **dict(headers)})

    def send_file(self, file):
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        headers = {
            "ETag": f'"{digest}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
            "X-Linked-Size": len(content),
        }
        span = self.headers.get("Range")
        if span:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else len(content)
            headers["Content-Range"] = f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}"
            return self.send_body(content[start:stop], 206, headers)
        return self.send_body(content, 200, headers)

    def send_body(self, body, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    with HubServer(*sys.argv[1:3]) as server:
        print(server.url, flush=True)
        sys.stdin.read()
