// The OpenAPI document as a page; nothing is fetched from elsewhere.

const document_ = await (await fetch("/v1/openapi.json")).json();

function el(name, text = "", ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function typed(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typed).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${typed(schema.items)}`;
  if (schema.type === "object") return `object of ${typed(schema.additionalProperties)}`;
  return [schema.type, schema.format].filter(Boolean).join(" ");
}

function table(rows) {
  const made = el("table");
  for (const row of rows) {
    const line = el("tr");
    line.append(...row.map((cell) => el("td", cell)));
    made.append(line);
  }
  return made;
}

for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, one] of Object.entries(methods)) {
    const box = el("details"), head = el("summary");
    head.append(el("b", `${method.toUpperCase()} ${path}`), one.summary, el("span", one.security ? " · staff code" : ""));
    box.append(head);
    if (one.parameters.length) box.append(el("h4", "Takes"), table(one.parameters.map((p) => [p.name, `${typed(p.schema)}${p.required ? "" : ", may be left out"}`, p.description ?? p.schema.description ?? ""])));
    for (const [media, content] of Object.entries(one.requestBody?.content ?? {})) box.append(el("p", `Body ${media}: ${typed(content.schema)}`));
    box.append(el("h4", "Answers"), table(Object.entries(one.responses).map(([status, answer]) => [status, Object.values(answer.content ?? {}).map((c) => typed(c.schema)).join(", "), answer.description])));
    document.getElementById("operations").append(box);
  }
}
const kinds = new Map();
for (const [name, schema] of Object.entries(document_.components.schemas)) {
  const box = el("details"), head = el("summary");
  head.append(el("b", name), (schema.description ?? "").split("\n")[0]);
  box.append(head, table(Object.entries(schema.properties ?? {}).map(([key, one]) => [key, typed(one), one.description ?? ""])));
  document.getElementById("types").append(box);
}
for (const [kind, one] of Object.entries(document_["x-problems"])) {
  const head = el("dt", `${kind} · ${one.status}`);
  head.id = kind;
  document.getElementById("problems").append(head, el("dd", one.title));
  kinds.set(kind, one);
}
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
