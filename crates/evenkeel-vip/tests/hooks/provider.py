"""What the hooks of deploy/hooks speak to, for their tests: Hetzner Cloud's API, the metadata
services of Hetzner and AWS, and a server for the webhook. Prints its URL.

Written from the providers' documentation, and independently of the hooks. Whoever asks the metadata
service is told by the first part of the path.
"""

import http.server
import json
import os
import threading

TOKEN = "Bearer " + os.environ["PROVIDER_TOKEN"]
lock = threading.Lock()

# Two pages, one address each.
floating_ips = [
    {"id": 1, "ip": "2001:db8::/64", "type": "ipv6", "server": None},
    {"id": 2, "ip": "192.0.2.10", "type": "ipv4", "server": None},
]
actions = {}
webhook = {"owner": None, "asked": []}
# What the tests set by PUT /settings.
settings = {"unassignFirst": False, "locked": 0, "fails": None, "polls": 1}


class Refused(Exception):
    pass


def begin(command, address, server):
    action = {
        "id": len(actions) + 100,
        "command": command,
        "status": "running",
        "progress": 0,
        "error": None,
    }
    actions[action["id"]] = {
        "action": action,
        "polls": settings["polls"],
        "address": address,
        "server": server,
    }
    return action


def look_at(number):
    """An action, which comes to its end by being looked at."""
    entry = actions.get(number) or refuse(404, "not_found", "action not found")
    action = entry["action"]
    if action["status"] == "running":
        entry["polls"] -= 1
        if entry["polls"] <= 0 and settings["fails"]:
            action["status"] = "error"
            action["error"] = {"code": settings["fails"], "message": "Action failed"}
        elif entry["polls"] <= 0:
            action["status"], action["progress"] = "success", 100
            entry["address"]["server"] = entry["server"]
    return action


def refuse(status, code, message):
    raise Refused(status, {"error": {"code": code, "message": message, "details": {}}})


def cloud(method, path, query, body):
    parts = path.strip("/").split("/")
    if method == "GET" and parts == ["floating_ips"]:
        page = int(query.get("page", "1"))
        following = page + 1 if page < len(floating_ips) else None
        pagination = {"page": page, "per_page": 1, "next_page": following}
        return 200, {
            "floating_ips": floating_ips[page - 1 : page],
            "meta": {"pagination": pagination},
        }
    if method == "GET" and parts[0] == "actions":
        return 200, {"action": look_at(int(parts[1]))}
    address = next((a for a in floating_ips if parts[:2] == ["floating_ips", str(a["id"])]), None)
    if address is None:
        refuse(404, "not_found", "floating IP not found")
    if method == "GET" and len(parts) == 2:
        return 200, {"floating_ip": address}
    if method == "POST" and parts[2:] == ["actions", "assign"]:
        if settings["locked"] > 0:
            settings["locked"] -= 1
            refuse(423, "locked", "floating IP is locked")
        if address["server"] is not None and settings["unassignFirst"]:
            refuse(422, "floating_ip_assigned", "The Floating IP is already assigned")
        if not isinstance(body.get("server"), int):
            refuse(422, "invalid_input", "server: must be a number")
        return 201, {"action": begin("assign_floating_ip", address, body["server"])}
    if method == "POST" and parts[2:] == ["actions", "unassign"]:
        if address["server"] is None:
            refuse(422, "floating_ip_not_assigned", "The Floating IP is not assigned")
        return 201, {"action": begin("unassign_floating_ip", address, None)}
    refuse(404, "not_found", "no such endpoint")


def hook(body):
    webhook["asked"].append(body)
    if body["operation"] == "acquire":
        webhook["owner"] = body["node"]
    if body["operation"] == "release" and webhook["owner"] == body["node"]:
        webhook["owner"] = None
    return 200, {"owner": webhook["owner"]}


class Provider(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        query = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        who, _, rest = path.lstrip("/").partition("/")
        try:
            with lock:
                status, said = self.route(who, rest, query, body)
        except Refused as refused:
            status, said = refused.args
        self.send_response(status)
        said = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_header("Content-Length", str(len(said)))
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(said)

    def route(self, who, rest, query, body):
        if who == "settings":
            settings.update(body)
            return 200, {"webhook": webhook, "floating_ips": floating_ips}
        if who in ("v1", "webhook", "moved"):
            if self.headers.get("Authorization") != TOKEN:
                refuse(401, "unauthorized", "unable to authenticate")
            if who == "moved":
                return 302, ""
            return hook(body) if who == "webhook" else cloud(self.command, rest, query, body)
        if rest == "hetzner/v1/metadata/instance-id":
            return 200, who
        if rest == "latest/api/token" and self.command == "PUT":
            return 200, f"token-of-{who}"
        if self.headers.get("X-aws-ec2-metadata-token") != f"token-of-{who}":
            return 401, "no token"
        key = settings.get("key", {})
        return {
            "latest/meta-data/instance-id": (200, who),
            "latest/meta-data/placement/region": (200, "eu-central-1"),
            "latest/meta-data/iam/security-credentials/": (200, "evenkeel"),
            "latest/meta-data/iam/security-credentials/evenkeel": (200, key),
        }.get(rest, (404, "not found"))

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
print(f"Running on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
