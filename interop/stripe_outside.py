"""Stripe's own SDK (PyPI `stripe`), driven exactly as stripe_outside.mjs; see there."""

import json
import sys

import stripe

url, secret_key, version = sys.argv[1:]
stripe.enable_telemetry = False
TOKENS = "/v1/test_helpers/shared_payment/granted_tokens"


def operation(asked):
    client = stripe.StripeClient(
        asked.get("secret", secret_key),
        base_addresses={"api": url},
        stripe_version=version,
        max_network_retries=asked.get("retries", 0),
    )
    intents = client.v1.payment_intents
    options = {"idempotency_key": asked["key"]} if "key" in asked else {}
    match asked["op"]:
        case "create":
            return intents.create(asked["params"], options)
        case "retrieve":
            return intents.retrieve(asked["id"])
        case "capture":
            return intents.capture(asked["id"], {}, options)
        case "cancel":
            return intents.cancel(asked["id"], {}, options)
        case "refund":
            return client.v1.refunds.create(asked["params"], options)
        case "refunded":
            return client.v1.refunds.retrieve(asked["id"])
        case "refunds":
            return client.v1.refunds.list(asked["params"])
        case "search":
            return intents.search({"query": asked["query"]})
        case "list":
            return intents.list({"limit": 3})
        case "token":
            return client.deserialize(client.raw_request("post", TOKENS, **asked["params"]), api_mode="V1")


for line in sys.stdin:
    try:
        answer = {"object": json.loads(str(operation(json.loads(line))))}
    except stripe.StripeError as error:
        body = error.error
        answer = {
            "error": {
                "class": type(error).__name__,
                "status": error.http_status,
                "code": error.code,
                "decline_code": getattr(body, "decline_code", None),
                "param": getattr(error, "param", None),
            }
        }
    print(json.dumps(answer), flush=True)
