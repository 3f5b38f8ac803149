// What node's http parser (llhttp, strict) makes of the same bytes, with the rules that node's server adds. Reads one connection per
// line, in base64; writes one line of JSON each: the complete messages, and the error that ended it or null.
const crypto = require("crypto");
const readline = require("readline");
const { HTTPParser, methods } = require("_http_common");

function judge(bytes) {
    const messages = [];
    let error = null, message = null, early = null;
    const parser = new HTTPParser();
    parser.initialize(HTTPParser.REQUEST, {}, 65536, HTTPParser.kLenientNone);
    parser[HTTPParser.kOnHeaders | 0] = (headers, url) => {
        early = { headers: (early ? early.headers : []).concat(headers), url: (early ? early.url : "") + url };
    };
    parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, headers, method, url) => {
        const all = (early ? early.headers : []).concat(headers || []);
        message = { method: methods[method], target: (early ? early.url : "") + (url || ""), hash: crypto.createHash("sha256"), length: 0 };
        early = null;
        const value = (name) => { const at = all.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === name); return at < 0 ? null : all[at + 1]; };
        if (major === 1 && minor === 1 && value("host") === null) error = error || "no Host";
        if (value("expect") !== null && value("expect").toLowerCase() !== "100-continue") error = error || "expectation";
        if (message.method === "CONNECT") error = error || "CONNECT";
        return 0;
    };
    parser[HTTPParser.kOnBody | 0] = (data, offset, length) => {
        const part = offset === undefined ? data : data.subarray(offset, offset + length);
        message.hash.update(part);
        message.length += part.length;
    };
    parser[HTTPParser.kOnMessageComplete | 0] = () => {
        if (error) return;
        messages.push({ method: message.method, target: message.target, length: message.length, digest: message.hash.digest("hex") });
    };
    const done = parser.execute(bytes);
    if (done instanceof Error) error = error || done.code;
    return { messages, error };
}

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        process.stdout.write(JSON.stringify(judge(Buffer.from(line, "base64"))) + "\n");
    }
})();
