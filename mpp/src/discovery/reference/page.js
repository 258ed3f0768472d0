// Starts Swagger UI on this service's document, and shows beside each operation what it costs.
"use strict";

// What an offer says; where it was left out (`Info::slim`), its base units.
const words = (offer) => {
  const price = offer.get("description");
  const amount = offer.get("amount");
  const units = amount === null || amount === undefined ? "depends on the request" : `${amount} base units`;
  return `${price || `${units} of ${offer.get("currency")}`} by ${offer.get("method")}`;
};

const prices = (system) => ({
  wrapComponents: {
    OperationSummary: (Summary) => (props) => {
      const h = system.React.createElement;
      const info = props.operationProps.getIn(["op", "x-payment-info"]);
      if (!info) return h(Summary, props);
      const offers = info.get("offers");
      const text = (offers ? offers.toArray() : [info]).map(words).join(", or ");
      return h("div", null, h(Summary, props), h("p", { className: "price" }, text));
    },
  },
  // "mpp pay" takes what curl takes.
  fn: {
    requestSnippetGenerator_mpp_pay: (request) =>
      system.fn.requestSnippetGenerator_curl_bash(request).replace(/^curl/, "mpp pay"),
  },
});

window.addEventListener("load", () => {
  // The style sheet of Swagger UI goes by a class, the reader's system by a media query.
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
  SwaggerUIBundle({
    url: new URL("openapi.json", document.baseURI).href,
    dom_id: "#reference",
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [prices],
    layout: "BaseLayout",
    deepLinking: true,
    validatorUrl: null,
    requestSnippetsEnabled: true,
    requestSnippets: {
      generators: {
        mpp_pay: { title: "mpp pay", syntax: "bash" },
        curl_bash: { title: "curl", syntax: "bash" },
      },
    },
  });
});
