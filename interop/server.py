"""A server on PyPI `pympp`, to be paid by our own client.

usage: server.py RPC CHAIN_ID TOKEN RECIPIENT FEE_PAYER_KEY

GET /charge takes 0.01 and GET /sponsored takes 0.01 and pays the network's fee. It says where it listens on its first line.
"""

import asyncio
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mpp.methods.tempo import TempoAccount
from mpp.methods.tempo import server as tempo
from mpp.server import Mpp, Request, Response

rpc, chain_id, token, recipient, key = sys.argv[1:]
mpp = Mpp(
    methods=tempo.charge(
        recipient=recipient,
        chain_id=int(chain_id),
        rpc_url=rpc,
        currencies=[token],
        fee_payer=TempoAccount.from_key(key),
        fee_token=token,
        allowed_fee_tokens=[token],
    ),
    realm="127.0.0.1",
    secret_key="0123456789abcdef0123456789abcdef",
)
sold = {
    "/charge": mpp.charge(amount="0.01"),
    "/sponsored": mpp.charge(amount="0.01", fee_payer=True),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        offer = sold.get(self.path)
        if offer is None:
            return self.answer(Response.json({"error": "not found"}, status=404))
        url = f"http://{self.headers['host']}{self.path}"
        request = Request("GET", url, list(self.headers.items()))
        result = asyncio.run(offer(request))
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


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
