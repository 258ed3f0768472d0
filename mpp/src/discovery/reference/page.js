// Starts Swagger UI on this service's document, and shows beside each operation what it costs.
"use strict";

// What an offer says; where it was left out (`Info::slim`), its base units.
const words = (offer) => {
  const price = offer.get("description");
  const amount = offer.get("amount");
  const units = amount === null || amount === undefined ? "depends on the request" : `${amount} base units`;
  return `${price || `${units} of ${offer.get("currency")}`} by ${offer.get("method")}`;
};

// A payment is not typed into a dialogue; one for other schemes stays.
const unlessPaymentAlone = (system) => (Button) => (props) => {
  const schemes = system.specSelectors.specJson().getIn(["components", "securitySchemes"]);
  return schemes && schemes.size > 1 ? system.React.createElement(Button, props) : null;
};

const prices = (system) => ({
  wrapComponents: {
    authorizeBtn: unlessPaymentAlone(system),
    authorizeOperationBtn: unlessPaymentAlone(system),
    OperationSummary: (Summary) => (props) => {
      const h = system.React.createElement;
      // What is folded has not been resolved, so the document itself is asked.
      const { path, method } = props.operationProps.toObject();
      const info = system.specSelectors.specJson().getIn(["paths", path, method, "x-payment-info"]);
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
      generators: { mpp_pay: { title: "mpp pay", syntax: "bash" } },
      // Not among others: it is the one that gets an answer.
      languages: ["mpp_pay"],
    },
  });
});
