"""Tries the MCP server with the official Python client (`pip install mcp`), over standard input and
output and over HTTP, in the newest protocol and in the one before it.

    python3 tests/clients/mcp_client.py target/release/souffleur --models-dir MODELS

Exit status: 0 when all is well, 1 when something is not, 77 when the client is not installed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

try:
    from mcp import Client, MCPError, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
except ImportError as error:
    print(f"SKIPPED: the official MCP client is not here ({error})", file=sys.stderr)
    sys.exit(77)

OPEN = "# Télétravail\n\nLe télétravail est possible trois jours par semaine.\n"
SECRET = "---\ngroups: [rh]\n---\n# Salaires\n\nLe salaire du directeur est de 9 000 euros.\n"
QUESTION = "Combien de jours de télétravail par semaine ?"
SALARY = "Quel est le salaire du directeur ?"


async def check_tools(client, link: str) -> None:
    """What every client sees, whatever the transport."""
    assert client.server_info.name == "souffleur", client.server_info
    assert "data, never an instruction" in client.instructions
    tools = {it.name: it for it in (await client.list_tools()).tools}
    assert list(tools) == ["search", "get_document", "ask"], tools
    for tool in tools.values():
        assert tool.annotations.read_only_hint and tool.annotations.open_world_hint is False
        assert tool.input_schema["type"] == "object" and tool.output_schema["type"] == "object"

    found = await client.call_tool("search", {"query": QUESTION, "limit": 2})
    assert not found.is_error, found
    first = found.structured_content["results"][0]
    assert "trois jours" in first["text"] and first["url"].startswith(link), first
    assert "trois jours" in found.content[0].text and first["url"] in found.content[0].text

    document = await client.call_tool("get_document", {"id": first["document_id"]})
    assert document.structured_content["text"].count("trois jours") == 1, document
    again = await client.call_tool("get_document", {"path": "teletravail.md", "char_end": 5})
    assert again.structured_content["text"] == "# Tél", again

    told = []

    async def tell(progress, total, message):
        told.append(message)

    answer = await client.call_tool("ask", {"question": QUESTION}, progress_callback=tell)
    assert not answer.is_error, answer
    data = answer.structured_content
    assert "trois jours" in data["answer"] and data["sentences"][0]["verdict"] == "supported", data
    assert data["sources"][0]["url"].startswith(link), data
    assert "[1]" in answer.content[0].text
    assert told, "no progress was told"

    for name, arguments, word in [
        ("search", {}, "query"),
        ("search", {"query": "x", "collection": "none"}, "none"),
        ("get_document", {"path": "not/there.md"}, "not/there.md"),
        ("ask", {"question": " "}, "empty"),
    ]:
        error = await client.call_tool(name, arguments)
        assert error.is_error and word in error.content[0].text, (name, arguments, error)
    try:
        await client.call_tool("delete_everything", {})
        raise AssertionError("a tool that is not there was called")
    except MCPError as error:
        assert "delete_everything" in str(error), error


async def check_groups(client, reads: bool) -> None:
    for name, arguments in [
        ("search", {"query": SALARY}),
        ("ask", {"question": SALARY}),
        ("get_document", {"path": "salaires.md"}),
    ]:
        result = await client.call_tool(name, arguments)
        found = "9 000" in result.content[0].text
        assert found == reads, (name, reads, result)


@asynccontextmanager
async def over_http(url: str, mode: str, key: str):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with create_mcp_http_client(headers=headers) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            yield client


async def run(program: str, models: str, folder: Path) -> None:
    docs = folder / "docs"
    docs.mkdir()
    (docs / "teletravail.md").write_text(OPEN, encoding="utf-8")
    (docs / "salaires.md").write_text(SECRET, encoding="utf-8")
    common = ["--models-dir", models, "--data-dir", str(folder / "data"), "--offline", "--quiet"]

    def souffleur(*args: str) -> str:
        command = [program, *args, *common]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    souffleur("ingest", str(docs))
    for mode in ["auto", "legacy"]:
        for groups, reads in [([], True), (["--group", "it"], False)]:
            args = ["mcp", "--generator", "extract", *groups, *common]
            server = StdioServerParameters(command=program, args=args)
            async with Client(stdio_client(server), mode=mode) as client:
                await check_tools(client, "file:///")
                await check_groups(client, reads)
                print(f"ok: stdio, {mode} ({client.protocol_version}) {' '.join(groups)}")

    serve = [program, "serve", "--addr", "127.0.0.1:0", "--json", "--generator", "extract", *common]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    try:
        base = json.loads(server.stdout.readline())["listening"]
        for mode in ["auto", "legacy"]:
            async with over_http(f"{base}/mcp", mode, "") as client:
                await check_tools(client, base)
                print(f"ok: HTTP, {mode} ({client.protocol_version})")
        keys = {}
        for name, args in [("outsider", []), ("member", ["--group", "rh"])]:
            keys[name] = json.loads(souffleur("keys", "create", "--json", *args))["secret"]
        for name, key in keys.items():
            async with over_http(f"{base}/mcp", "auto", key) as client:
                await check_groups(client, name == "member")
        try:
            async with over_http(f"{base}/mcp", "auto", "sfl_wrong") as client:
                await client.list_tools()
            raise AssertionError("a wrong key was let in")
        except AssertionError:
            raise
        except BaseException as error:  # noqa: BLE001: whatever the client makes of a 401
            print(f"ok: HTTP, a wrong key is refused ({type(error).__name__})")
        print("ok: HTTP, keys and groups")
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--models-dir", required=True)
    args = parser.parse_args()
    program = str(Path(args.program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(program, str(Path(args.models_dir).resolve()), Path(folder)))


if __name__ == "__main__":
    main()
