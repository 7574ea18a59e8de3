// Write page.html, the page of `dvc plots show`, with the scripts of Vega inside it instead of links to a CDN.
import { readFileSync, writeFileSync } from "node:fs";

const scripts = ["vega", "vega-lite", "vega-embed"].map((name) => {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL("package.json", folder), "utf8"));
  const code = readFileSync(new URL(`build/${name}.min.js`, folder), "utf8").replace(/^\/\/# sourceMappingURL=.*$/m, "");
  if (/<\/script|\{(scripts|plot_divs|refresh_tag)\}/i.test(code)) {
    throw new Error(`${name} ${version} contains a placeholder of DVC or the end of a script element`);
  }
  return `<script>/* ${name} ${version}, BSD-3-Clause: .dvc/plots/LICENSE */\n${code.trim()}\n</script>`;
});

writeFileSync(
  new URL("page.html", import.meta.url),
  `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>DVC plots</title>
{refresh_tag}
<link rel="icon" href="data:,">
<style>body { font-family: sans-serif; } table { border-spacing: 15px; }</style>
${scripts.join("\n")}
</head>
<body>
{plot_divs}
</body>
</html>
`,
);
