// The command that does what the page just did.

import { address, hasKey, predictPath, typeOf } from "./api.js";

const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** A file's name for curl's -F: in quotes if it has characters that would end it. */
const field = (name) => (/[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name);

/** The request that these photos were sent in. */
export function curl({ files, explained }) {
  const key = hasKey() ? ['-H "X-API-Key: $KEY"'] : [];
  const url = quote(address(predictPath(explained)));
  const [file] = files;
  const parts =
    files.length === 1
      ? [`--data-binary ${quote(`@${file.name}`)}`, `-H ${quote(`Content-Type: ${typeOf(file)}`)}`]
      : files.map((one) => `-F ${quote(`image=@${field(one.name)}`)}`);
  return ["curl", ...key, ...parts, url].join(" \\\n  ").replace("curl \\\n  ", "curl ");
}
