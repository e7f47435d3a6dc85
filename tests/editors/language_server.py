"""A client of yaml-language-server over stdio: as much of the Language Server Protocol as an editor needs to show a job
file. Messages are JSON behind a Content-Length line; the server asks too, and gets the configuration here."""

import itertools
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What an editor sends where its user has set nothing but: ask no catalogue on the network
SETTINGS = {"yaml": {"schemaStore": {"enable": False}, "validate": True, "completion": True, "hover": True}}


@dataclass
class LanguageServer:
    """One server with any number of open documents; `diagnostics` by the address of a document."""

    process: "subprocess.Popen[bytes]"
    ids: "itertools.count[int]" = field(default_factory=itertools.count)
    diagnostics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @staticmethod
    def start(program: Path, folder: Path, env: dict[str, str]) -> "LanguageServer":
        process = subprocess.Popen(
            ["node", str(program), "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=env,
        )
        server = LanguageServer(process)
        document = {"completion": {"completionItem": {"snippetSupport": False}}, "hover": {}, "publishDiagnostics": {}}
        capabilities = {"textDocument": document, "workspace": {"configuration": True}}
        server.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": capabilities})
        server.tell("initialized", {})
        server.tell("workspace/didChangeConfiguration", {"settings": SETTINGS})
        return server

    def open(self, file: Path, text: str) -> list[dict[str, Any]]:
        """The problems that are shown under this text. It need not stand on the disk."""
        self.diagnostics.pop(file.as_uri(), None)
        document = {"uri": file.as_uri(), "languageId": "yaml", "version": next(self.ids), "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        while file.as_uri() not in self.diagnostics:
            self.read()
        return self.diagnostics[file.as_uri()]

    def completions(self, file: Path, line: int, character: int) -> list[str]:
        answer = self.ask("textDocument/completion", place(file, line, character))
        items = answer["items"] if isinstance(answer, dict) else answer
        return [item["label"] for item in items]

    def hover(self, file: Path, line: int, character: int) -> str:
        answer = self.ask("textDocument/hover", place(file, line, character))
        contents = answer["contents"]
        return contents if isinstance(contents, str) else contents["value"]

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self.ids)
        self.write({"id": number, "method": method, "params": params})
        while True:
            answer = self.read()
            if answer.get("id") == number and "method" not in answer:
                assert "error" not in answer, answer
                return answer["result"]

    def tell(self, method: str, params: dict[str, Any]) -> None:
        self.write({"method": method, "params": params})

    def write(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next message; what the server itself asks is answered, what it publishes kept."""
        output = self.process.stdout
        assert output is not None
        length = 0
        while (line := output.readline()) != b"\r\n":
            assert line, f"the server ended with {self.process.wait(timeout=5)}"
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(output.read(length))
        match message.get("method"):
            case "workspace/configuration":
                wanted = [item.get("section", "") for item in message["params"]["items"]]
                self.write({"id": message["id"], "result": [SETTINGS.get(section, {}) for section in wanted]})
            case "textDocument/publishDiagnostics":
                self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
            case _ if "method" in message and "id" in message:
                self.write({"id": message["id"], "result": None})
        return message

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def place(file: Path, line: int, character: int) -> dict[str, Any]:
    return {"textDocument": {"uri": file.as_uri()}, "position": {"line": line, "character": character}}
