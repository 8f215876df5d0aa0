"""A source on this machine: a web server with ranges, and with the faults that real ones have."""

import hashlib
import http.server
import io
import json
import re
import threading
import zipfile


class Mirror:
    """Serves `files`; the other attributes make it misbehave. `log` keeps (method, path, range) of every request."""

    def __init__(self):
        self.files = {}
        self.status = {}  # path -> codes to answer with, one per request, then normal
        self.drop = {}  # path -> counts of bytes after which the connection ends, one per request, then normal
        self.redirect = {}  # path -> address
        self.ranges = True
        self.shift = 0  # answers start this many bytes too late
        self.log = []
        self.on_request = lambda path: None

    def gets(self, path):
        return [each for method, name, each in self.log if method == "GET" and name == path]

    def publish(self, folder, files, sums=True):
        """PhysioNet's layout: files and their checksums, one blank between, as there."""
        self.files |= {f"{folder}/{name}": data for name, data in files.items()}
        if sums:
            lines = [f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in sorted(files.items())]
            self.files[f"{folder}/SHA256SUMS.txt"] = "".join(lines).encode()
        return f"{self.url}{folder}/"

    def publish_zip(self, members, archive="dodo.zip", packing=zipfile.ZIP_DEFLATED, record="/api/records/1"):
        """Zenodo's layout: a record that lists one archive."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packing) as packed:
            for name, data in members.items():
                packed.writestr(name, data)
        path = f"{record}/files/{archive}/content"
        self.files[path] = buffer.getvalue()
        listed = {
            "key": archive,
            "size": len(self.files[path]),
            "checksum": "md5:0",
            "links": {"self": self.url + path},
        }
        self.files[record] = json.dumps({"id": 1, "files": [listed]}).encode()
        return self.url + record, path

    def __enter__(self):
        mirror = self

        class Handler(_Handler):
            site = mirror

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Mirror
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        site, path, asked = self.site, self.path, self.headers.get("Range")
        site.log.append((self.command, path, asked))
        site.on_request(path)
        if path in site.redirect:
            return self._head(302, {"Location": site.redirect[path], "Content-Length": "0"})
        if site.status.get(path):
            return self._head(site.status[path].pop(0), {"Content-Length": "0"})
        if path not in site.files:
            return self._head(404, {"Content-Length": "0"})
        data, code, extra = site.files[path], 200, {}
        if asked and site.ranges:
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
            first, last = int(match[1]) + site.shift, int(match[2] or len(data) - 1)
            if first >= len(data):
                return self._head(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
            extra = {"Content-Range": f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"}
            data, code = data[first : last + 1], 206
        self._head(code, {**extra, "Content-Length": str(len(data))})
        if body:
            kept = site.drop[path].pop(0) if site.drop.get(path) else len(data)
            self.wfile.write(data[:kept])
        return None

    def _head(self, code, headers):
        self.send_response(code)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
