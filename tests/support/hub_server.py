#!/usr/bin/env python3
"""A small model hub for tests: the parts of the Hugging Face hub's protocol that downloads use.

    hub_server.py ROOT

serves ROOT/models/org/name/… and ROOT/datasets/org/name/… (another revision: org/name@REVISION with
'/' as '%2F') until its standard input closes; prints "HUB_ADDRESS CDN_ADDRESS" first. Large-file
suffixes are redirected to the second server, as the hub does. Two marker files in a repository:
.gated, .private. Every request goes to ROOT/log.jsonl. ROOT/behaviour.json, read anew at each
request, makes it misbehave:

    page N            entries on a page of the tree
    status [503, …]   answers to the next requests for content, one each
    retry_after S     header beside those
    cut [N, …]        the next bodies of content end after N bytes, one each
    rate N            bytes a second
    ignore_range      a Range is answered with the whole
    no_revision       no page about revisions
    damage            a byte of every large file is wrong
    html              pages of the interface are HTML
    path P            the tree has one more file, named P
    size N            the tree gives every large file N bytes
    hang              content is never sent
    long              content has more bytes than said
    circle            each page of the tree names itself as the next
    gzip              everything is compressed, asked or not
    no_head           HEAD is refused
"""
import gzip
import hashlib
import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

ROOT = os.path.abspath(sys.argv[1])
LARGE = (".safetensors", ".bin", ".gguf", ".parquet")
TOKEN = "Bearer hf_test"
lock = threading.Lock()
used = {"status": 0, "cut": 0}
digests = {}


def behaviour():
    try:
        with open(os.path.join(ROOT, "behaviour.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def take(name):
    """The next item of a list in the behaviour, once each."""
    with lock:
        items = behaviour().get(name, [])
        if used[name] >= len(items):
            return None
        used[name] += 1
        return items[used[name] - 1]


def digest(path, large):
    """(hash, size): SHA-256 of a large file, git's blob SHA-1 of a small one."""
    status = os.stat(path)
    key = (path, status.st_mtime_ns, status.st_size, large)
    if key not in digests:
        total = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % status.st_size)
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                total.update(chunk)
        digests[key] = total.hexdigest()
    return digests[key], status.st_size


class Repository:
    def __init__(self, kind, name, revision):
        self.base = os.path.join(ROOT, kind, name)
        self.exists = os.path.isdir(self.base)
        self.gated = os.path.exists(os.path.join(self.base, ".gated"))
        self.private = os.path.exists(os.path.join(self.base, ".private"))
        self.files, self.commit, self.revision_exists = {}, None, False
        directories = {"main": self.base}
        parent, stem = os.path.split(self.base)
        for other in os.listdir(parent) if self.exists else []:
            if other.startswith(stem + "@"):
                directories[urllib.parse.unquote(other[len(stem) + 1:])] = os.path.join(parent, other)
        for branch, directory in directories.items():
            files = self.scan(directory)
            commit = hashlib.sha1(json.dumps([branch, files], sort_keys=True).encode()).hexdigest()
            if revision in (branch, commit):
                self.files, self.commit, self.revision_exists = files, commit, True
                self.directory = directory

    @staticmethod
    def scan(directory):
        files = {}
        for base, _, names in os.walk(directory):
            for name in names:
                path = os.path.join(base, name)
                if name not in (".gated", ".private"):
                    large = name.endswith(LARGE)
                    files[os.path.relpath(path, directory)] = (large, *digest(path, large))
        return files


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cdn_address = None
    role = None

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        if behaviour().get("no_head"):
            self.send(405)
        else:
            self.do_GET()

    def do_GET(self):
        with lock, open(os.path.join(ROOT, "log.jsonl"), "a", encoding="utf-8") as log:
            log.write(json.dumps({"server": self.role, "method": self.command, "path": self.path,
                                  "authorization": self.headers.get("Authorization"),
                                  "range": self.headers.get("Range"),
                                  "if_range": self.headers.get("If-Range")}) + "\n")
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, status, body=b"", headers=()):
        if body and behaviour().get("gzip"):
            body, headers = gzip.compress(body), [("Content-Encoding", "gzip"), *headers]
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, value, headers=()):
        if behaviour().get("html"):
            self.send(200, b"<html>please log in</html>", [("Content-Type", "text/html")])
        else:
            self.send(200, json.dumps(value).encode(), [("Content-Type", "application/json"), *headers])

    def refuse(self, status, code, message=""):
        self.send(status, b"<html>no</html>", [("X-Error-Code", code), ("X-Error-Message", message)])

    def send_content(self, path, size, etag, headers=()):
        """A file's bytes, from a Range where one is asked for."""
        told = behaviour()
        status = take("status")
        if status:
            wait = [("Retry-After", str(told["retry_after"]))] if "retry_after" in told else []
            self.send(status, b"later", wait)
            return
        if told.get("hang"):
            time.sleep(60)
        if told.get("gzip"):
            with open(path, "rb") as file:
                self.send(200, file.read(), [("ETag", etag), *headers])
            return
        start, asked = 0, self.headers.get("Range")
        same = self.headers.get("If-Range", etag) == etag
        if asked and same and not told.get("ignore_range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= size:
                self.send(416, b"", [("Content-Range", f"bytes */{size}")])
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        extra = 7 if told.get("long") else 0
        if not extra:
            self.send_header("Content-Length", str(size - start))
        for name, value in [("ETag", etag), ("Accept-Ranges", "bytes"), *headers]:
            self.send_header(name, value)
        if extra:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = take("cut")
        self.send_bytes(path, start, size if cut is None else min(size, start + cut), told)
        if extra:
            self.wfile.write(b"x" * extra)
        if cut is not None or extra:
            self.close_connection = True

    def send_bytes(self, path, start, end, told):
        began, sent, rate = time.monotonic(), 0, told.get("rate")
        damaged = told.get("damage") and path.endswith(LARGE)
        with open(path, "rb") as file:
            file.seek(start)
            while start + sent < end:
                chunk = file.read(min(1 << 16, end - start - sent))
                if damaged and start + sent == 0:
                    chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
                self.wfile.write(chunk)
                sent += len(chunk)
                if rate:
                    time.sleep(max(0, sent / rate - (time.monotonic() - began)))


class Cdn(Handler):
    role = "cdn"

    def answer(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        full = os.path.join(ROOT, path.removeprefix("/cdn/"))
        hash_, size = digest(full, True)
        self.send_content(full, size, f'"cdn-{hash_[:16]}"')


class Hub(Handler):
    role = "hub"

    def answer(self):
        parts = [urllib.parse.unquote(p) for p in urllib.parse.urlsplit(self.path).path.strip("/").split("/")]
        if len(parts) < 4 + 2 * (parts[0] == "api"):
            self.refuse(404, "RepoNotFound", "Repository not found")
            return
        if parts[0] == "api":
            kind, name, word, revision = parts[1], "/".join(parts[2:4]), parts[4], parts[5]
        else:
            kind = parts.pop(0) if parts[0] == "datasets" else "models"
            name, word, revision = "/".join(parts[:2]), parts[2], parts[3]
        repository = Repository(kind, name, revision)
        trusted = self.headers.get("Authorization") == TOKEN
        if self.headers.get("Authorization") and not trusted:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif not repository.exists or (repository.private and not trusted):
            self.refuse(404 if trusted else 401, "RepoNotFound", "Repository not found")
        elif not repository.revision_exists:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
        elif word == "revision" and not behaviour().get("no_revision"):
            self.send_json({"id": name, "sha": repository.commit, "private": repository.private,
                            "siblings": [{"rfilename": path} for path in sorted(repository.files)]})
        elif word == "tree":
            self.tree(repository)
        elif word == "resolve" and repository.gated and not trusted:
            self.refuse(401, "GatedRepo", "Access to this repository is restricted")
        elif word == "resolve":
            self.resolve(repository, "/".join(parts[4:]))
        else:
            self.send(404, b"no such page")

    def tree(self, repository):
        entries = []
        for path, (large, hash_, size) in sorted(repository.files.items()):
            entry = {"type": "file", "path": path, "size": size, "oid": hash_}
            if large:
                size = behaviour().get("size", size)
                entry["oid"] = hashlib.sha1(hash_.encode()).hexdigest()
                entry["lfs"] = {"oid": hash_, "size": size, "pointerSize": 135}
            entries.append(entry)
        if "path" in behaviour():
            entries.append({"type": "file", "path": behaviour()["path"], "size": 1, "oid": "0" * 40})
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        page, start = behaviour().get("page", 1000), int(query.get("cursor", 0))
        headers = []
        if behaviour().get("circle"):
            headers.append(("Link", f'<{self.path}>; rel="next"'))
        elif start + page < len(entries):
            query["cursor"] = start + page
            bare = self.path.split("?")[0]
            headers.append(("Link", f'<http://{self.headers["Host"]}{bare}?{urllib.parse.urlencode(query)}>; rel="next"'))
        self.send_json(entries[start:start + page], headers)

    def resolve(self, repository, path):
        if path not in repository.files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        large, hash_, size = repository.files[path]
        full = os.path.join(repository.directory, path)
        commit = ("X-Repo-Commit", repository.commit)
        if not large:
            self.send_content(full, size, f'"{hash_}"', [commit])
            return
        below = urllib.parse.quote(os.path.relpath(full, ROOT))
        self.send(302, b"", [commit, ("X-Linked-Etag", f'"{hash_}"'), ("X-Linked-Size", str(size)),
                             ("Location", f"{self.cdn_address}/cdn/{below}?signature=s3cret")])


def serve(handler, host):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{host}:{server.server_port}"


Handler.cdn_address = serve(Cdn, "localhost")
print(serve(Hub, "127.0.0.1"), Handler.cdn_address, flush=True)
sys.stdin.read()
