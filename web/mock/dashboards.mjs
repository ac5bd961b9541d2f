// A MOCK of the dashboard routes: keeps what it is given. Part of the mock platform; see server.mjs.
export function createDashboards() {
  const all = new Map();
  let changes = 0;
  const refuse = (status, code, message) => [status, { error: { code, message } }];

  /** Answers a request: status and body. */
  function answer(method, id, body, etag) {
    if (!id) return [200, { value: [...all.values()].map(({ id, title, tiles, updatedAt }) => ({ id, title, tiles: tiles.length, updatedAt })) }];
    const found = all.get(id);
    if (method === "PUT") {
      if (found && etag !== found.etag) return refuse(412, "PreconditionFailed", "etag does not match");
      all.set(id, { ...body, id, etag: `"${(changes += 1)}"`, updatedAt: new Date().toISOString() });
      return [200, all.get(id)];
    }
    if (!found) return refuse(404, "NotFound", `dashboard \`${id}\``);
    if (method === "DELETE") return all.delete(id), [204];
    return [200, found];
  }
  return { answer };
}
