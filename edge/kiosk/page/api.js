// The kiosk's API. Errors are problem documents; what they say is for people.

export class Refused extends Error {
  constructor(status, problem, retry) {
    super(problem.detail ?? `HTTP ${status}`);
    this.status = status;
    this.kind = (problem.type ?? "").split("#")[1] ?? "";
    this.retry = retry;
  }
}

export async function call(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body, Number(answer.headers.get("retry-after")) || 0);
  return body;
}

export const settings = () => call("/v1/settings");
export const search = (text, signal) => call(`/v1/search?limit=24&q=${encodeURIComponent(text)}`, { signal });
export const similar = (sku) => call(`/v1/similar/${encodeURIComponent(sku)}?top_k=3`);
export const product = (sku) => call(`/v1/products/${encodeURIComponent(sku)}`);

export function match(photo, session, barCode) {
  const query = new URLSearchParams({ top_k: "4", session });
  if (barCode) query.set("bar_code", "true");
  return call(`/v1/match?${query}`, { method: "POST", body: photo, headers: { "content-type": "image/jpeg" } });
}

export function staff(code) {
  const headers = { authorization: `Bearer ${code}` };
  const at = (sku) => `/v1/products/${encodeURIComponent(sku)}`;
  const json = { ...headers, "content-type": "application/json" };
  return {
    enter: () => call("/v1/staff", { headers }),
    teach: (form) => call("/v1/products", { method: "POST", body: form, headers }),
    taught: async () => {
      const products = [];
      for (;;) {
        const part = await call(`/v1/products?taught=true&limit=200&offset=${products.length}`);
        products.push(...part.products);
        if (!part.products.length || products.length >= part.total) return { products };
      }
    },
    change: (sku, attributes) => call(at(sku), { method: "PATCH", body: JSON.stringify({ attributes }), headers: json }),
    remove: (sku) => call(at(sku), { method: "DELETE", headers }),
    unknown: () => call("/v1/unknown", { headers }),
    forgetUnknown: () => call("/v1/unknown", { method: "DELETE", headers }),
    crop: async (path) => URL.createObjectURL(await (await fetch(path, { headers })).blob()),
  };
}
