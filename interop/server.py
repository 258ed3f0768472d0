"""A server on PyPI `pympp`, to be paid by our own client.

usage: server.py RPC CHAIN_ID TOKEN RECIPIENT

GET /charge takes 0.01. It says where it listens on its first line. It sponsors nobody: before that it simulates by a method that
anvil has not got.
"""

import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from mpp.methods.tempo import server as tempo
from mpp.server import Mpp, Request, Response


class Anvil(httpx.AsyncHTTPTransport):
    """anvil's `eth_sendRawTransactionSync` takes the transaction alone, without how long to wait for it."""

    async def handle_async_request(self, request):
        call = json.loads(request.content)
        if isinstance(call, dict) and call.get("method") == "eth_sendRawTransactionSync":
            body = json.dumps({**call, "params": call["params"][:1]}).encode()
            headers = [(name, value) for name, value in request.headers.items() if name != "content-length"]
            request = httpx.Request(request.method, request.url, headers=headers, content=body)
        return await super().handle_async_request(request)


rpc, chain_id, token, recipient = sys.argv[1:]
mpp = Mpp(
    methods=tempo.charge(
        recipient=recipient,
        chain_id=int(chain_id),
        rpc_url=rpc,
        http_client=httpx.AsyncClient(transport=Anvil()),
        currencies=[token],
    ),
    realm="127.0.0.1",
    secret_key="0123456789abcdef0123456789abcdef",
)
sold = {"/charge": mpp.charge(amount="0.01")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        offer = sold.get(self.path)
        if offer is None:
            return self.answer(Response.json({"error": "not found"}, status=404))
        url = f"http://{self.headers['host']}{self.path}"
        request = Request("GET", url, list(self.headers.items()))
        result = asyncio.run_coroutine_threadsafe(offer(request), loop).result()
        if result.status != 200:
            return self.answer(result.challenge)
        self.answer(result.with_receipt(Response(body="by pympp")))

    def answer(self, response):
        body = response.body or b""
        self.send_response(response.status)
        for name, value in response.headers.multi_items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
