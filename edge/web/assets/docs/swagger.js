SwaggerUIBundle({
  urls: ["knowledge", "jobs", "diary", "karte", "planner", "habits"].map((name) => ({ name, url: `/openapi/${name}.yaml` })),
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  layout: "StandaloneLayout",
});
