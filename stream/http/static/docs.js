// Shows openapi.json to people. Everything is put in as text, never as markup.

const DEEPEST = 6; // of nested models

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function table(heads, rows) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const each of heads) {
    const cell = element("th", each);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const each of row) line.insertCell().textContent = each;
  }
  return made;
}

function resolve(schema, all) {
  const name = schema.$ref?.split("/").pop();
  return name ? { title: name, ...all[name] } : schema;
}

function typeOf(schema, all) {
  const found = resolve(schema, all);
  const choices = found.anyOf ?? found.oneOf;
  if (choices) return choices.map((each) => typeOf(each, all)).join(" or ");
  if (found.enum) return found.enum.map((each) => JSON.stringify(each)).join(" | ");
  if ("const" in found) return JSON.stringify(found.const);
  if (found.type === "array") return `list of ${found.items ? typeOf(found.items, all) : "anything"}`;
  if (found.format === "binary") return "file";
  if (found.properties && found.title) return found.title;
  return found.type ?? "anything";
}

function bounds(schema) {
  const words = [];
  const say = (key, text) => { if (schema[key] !== undefined) words.push(`${text} ${schema[key]}`); };
  say("minimum", "from"); say("exclusiveMinimum", "above"); say("maximum", "to"); say("exclusiveMaximum", "below");
  say("minLength", "length from"); say("maxLength", "length to"); say("minItems", "at least"); say("maxItems", "at most");
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(", ");
}

function meaning(description, schema, optional) {
  const words = [description?.replace(/\.$/, ""), bounds(schema), optional ? "optional" : ""];
  return words.filter(Boolean).join("; ");
}

// The models that a value may be: of a list its entries, of a choice all that have keys.
function models(schema, all) {
  const found = resolve(schema, all);
  const choices = found.anyOf ?? found.oneOf;
  if (choices) return choices.flatMap((each) => models(each, all)).filter(({ title }, index, found) => found.findIndex((other) => other.title === title) === index);
  if (found.type === "array" && found.items) return models(found.items, all);
  return found.properties ? [found] : [];
}

function fields(inner, all, prefix = "", depth = 0) {
  if (depth > DEEPEST) return [];
  return Object.entries(inner.properties).flatMap(([name, each]) => {
    const words = meaning(each.description, each, !inner.required?.includes(name));
    const nested = models(each, all).flatMap((model) => fields(model, all, `${prefix}${name}.`, depth + 1));
    return [[prefix + name, typeOf(each, all), words], ...nested];
  });
}

function bodies(content, all) {
  return Object.entries(content ?? {}).flatMap(([type, { schema }]) => {
    const found = models(schema, all);
    const tables = found.flatMap((model) => [...(found.length > 1 ? [element("p", model.title, "soft")] : []), table(["Key", "Type", "Meaning"], fields(model, all))]);
    return [element("p", `${type}: ${typeOf(schema, all)}`, "soft"), ...tables];
  });
}

function curl(method, path, operation, secured) {
  const words = ["curl"];
  if (method !== "get") words.push(`-X ${method.toUpperCase()}`);
  if (secured && operation.security?.length) words.push('-H "Authorization: Bearer $TOKEN"');
  const types = Object.keys(operation.requestBody?.content ?? {});
  if (types.includes("application/json")) words.push("-H 'Content-Type: application/json' -d @body.json");
  else if (types.some((each) => each.startsWith("image/"))) words.push("-H 'Content-Type: image/jpeg' --data-binary @picture.jpg");
  else if (types.length) words.push("-F file=@picture.jpg");
  return `${words.join(" ")} ${location.origin}${path}`;
}

function operationOf(method, path, operation, all, secured) {
  const made = element("details");
  const head = element("summary");
  head.append(element("span", method.toUpperCase(), "method"), element("code", path), ` ${operation.summary}`);
  const body = element("div");
  if (operation.description) body.append(element("p", operation.description));
  if (operation["x-role"] && secured) body.append(element("p", `Needs the role ${operation["x-role"]}.`));
  if (operation.parameters.length) {
    const rows = operation.parameters.map((each) => [each.name, each.in, typeOf(each.schema, all),
      meaning(each.description, each.schema, !each.required)]);
    body.append(element("h3", "Parameters"), table(["Name", "In", "Type", "Meaning"], rows));
  }
  if (operation.requestBody) body.append(element("h3", "Body"), ...bodies(operation.requestBody.content, all));
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (Number(status) >= 400) continue;
    body.append(element("h3", `Answer ${status}`), element("p", answer.description), ...bodies(answer.content, all));
  }
  const refusals = Object.entries(operation.responses).filter(([status]) => Number(status) >= 400);
  body.append(element("h3", "When it is refused"), table(["Status", "Because"], refusals.map(([status, each]) => [status, each.description])));
  body.append(element("h3", "From a terminal"), element("pre", curl(method, path, operation, secured)));
  made.append(head, body);
  made.dataset.words = `${method} ${path} ${operation.summary}`.toLowerCase();
  return made;
}

function show(api) {
  const all = api.components.schemas ?? {};
  const secured = Boolean(api.components.securitySchemes);
  document.title = `${api.info.title} API`;
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationOf(method, path, operation, all, secured));
    }
  }
  const sections = [...groups].map(([tag, operations]) => {
    const section = element("section");
    section.append(element("h2", tag), ...operations);
    return section;
  });
  document.getElementById("operations").replaceChildren(...sections);
}

function filter(event) {
  const wanted = event.target.value.trim().toLowerCase();
  for (const each of document.querySelectorAll("details")) each.hidden = !each.dataset.words.includes(wanted);
  for (const each of document.querySelectorAll("section")) each.hidden = !each.querySelector("details:not([hidden])");
}

document.getElementById("filter").addEventListener("input", filter);
try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
  show(await answer.json());
} catch (problem) {
  document.getElementById("operations").replaceChildren(element("p", `The document cannot be shown: ${problem.message}`));
}
