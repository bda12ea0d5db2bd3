"""A small Hugging Face Hub on this machine: dataset repositories, and login by OpenID Connect."""

import base64
import hashlib
import json
import time
from secrets import token_hex
from urllib.parse import urlencode

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = ("client", "client's secret")


class HubStandIn:
    """What it holds; `app` serves it."""

    def __init__(self):
        self.files = {}  # repository -> path -> bytes
        self.private = {}
        self.commits = 0
        self.broken = False  # whether it refuses commits
        self.visitor = "ada"  # whom it takes whoever logs in for
        self._logins = {}  # code -> (nonce, name)
        self._key = RSAKey.generate_key(2048, parameters={"kid": "1"})
        self.app = FastAPI()
        self._repositories()
        self._oauth()

    def _repositories(self):
        @self.app.post("/api/repos/create")
        async def create(request: Request):
            asked = await request.json()
            assert asked["type"] == "dataset"
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.files:
                return Response(json.dumps({"url": name}), 409)
            self.files[name] = {}
            self.private[name] = asked["visibility"] == "private"
            return {"url": f"{request.base_url}datasets/{name}", "name": name}

        @self.app.get("/api/datasets/{user}/{name}/tree/main")
        @self.app.get("/api/datasets/{user}/{name}/tree/{sha}")
        def tree(user: str, name: str):
            return [
                {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                for path, data in self._repository(user, name).items()
            ]

        @self.app.get("/api/datasets/{user}/{name}")
        @self.app.get("/api/datasets/{user}/{name}/revision/main")
        def info(user: str, name: str):
            files = self._repository(user, name)
            return {
                "id": f"{user}/{name}",
                "sha": f"{self.commits:040x}",
                "private": self.private[f"{user}/{name}"],
                "siblings": [{"rfilename": path} for path in files],
            }

        @self.app.post("/api/datasets/{user}/{name}/preupload/main")
        async def preupload(user: str, name: str, request: Request):
            asked = await request.json()
            return {
                "files": [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in asked["files"]
                ]
            }

        @self.app.post("/api/datasets/{user}/{name}/commit/main")
        async def commit(user: str, name: str, request: Request):
            if self.broken:
                raise HTTPException(400, "broken")
            for line in (await request.body()).splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    data = base64.b64decode(part["value"]["content"])
                    self._repository(user, name)[part["value"]["path"]] = data
            self.commits += 1
            oid = f"{self.commits:040x}"
            url = f"{request.base_url}datasets/{user}/{name}/commit/{oid}"
            return {"commitUrl": url, "commitOid": oid}

        @self.app.api_route(
            "/datasets/{user}/{name}/resolve/{sha}/{path:path}", methods=["GET", "HEAD"]
        )
        def resolve(user: str, name: str, sha: str, path: str):
            files = self._repository(user, name)
            if path not in files:
                raise HTTPException(404, headers={"X-Error-Code": "EntryNotFound"})
            headers = {"ETag": f'"{_oid(files[path])}"', "X-Repo-Commit": sha}
            return Response(files[path], headers=headers)

    def _repository(self, user, name):
        found = self.files.get(f"{user}/{name}")
        if found is None:
            raise HTTPException(404, headers={"X-Error-Code": "RepoNotFound"})
        return found

    def _oauth(self):
        @self.app.get("/.well-known/openid-configuration")
        def configuration(request: Request):
            at = str(request.base_url)
            return {
                "issuer": at.rstrip("/"),
                "authorization_endpoint": f"{at}oauth/authorize",
                "token_endpoint": f"{at}oauth/token",
                "jwks_uri": f"{at}oauth/jwks",
                "id_token_signing_alg_values_supported": ["RS256"],
            }

        @self.app.get("/oauth/jwks")
        def keys():
            return {"keys": [self._key.as_dict(private=False)]}

        @self.app.get("/oauth/authorize")
        def authorize(client_id: str, redirect_uri: str, state: str, nonce: str):
            assert client_id == CLIENT[0]
            code = token_hex(8)
            self._logins[code] = (nonce, self.visitor)
            joint = "&" if "?" in redirect_uri else "?"
            return RedirectResponse(
                f"{redirect_uri}{joint}{urlencode({'code': code, 'state': state})}"
            )

        @self.app.post("/oauth/token")
        def token(request: Request, code: str = Form()):
            given = base64.b64decode(request.headers["authorization"].split()[1]).decode()
            if given.split(":", 1) != [CLIENT[0], CLIENT[1]]:
                raise HTTPException(401)
            nonce, name = self._logins.pop(code)
            now = int(time.time())
            claims = {
                "iss": str(request.base_url).rstrip("/"),
                "aud": CLIENT[0],
                "sub": hashlib.sha256(name.encode()).hexdigest(),
                "nonce": nonce,
                "iat": now,
                "exp": now + 600,
                "preferred_username": name,
                "name": name,
            }
            return {
                "access_token": token_hex(8),
                "token_type": "bearer",
                "expires_in": 3600,
                "scope": "openid profile",
                "id_token": jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key),
            }


def _oid(data):
    return hashlib.sha1(data).hexdigest()
