// Swagger UI fills the fields of a form with made-up values; leave those blank that have no default.
const blankFields = (system) => {
  const sample = system.fn.getSampleSchema;
  const fill = (schema, mediaType, ...rest) =>
    mediaType === false ? (schema.get("default") ?? "") : sample(schema, mediaType, ...rest);
  return { fn: { getSampleSchema: fill } };
};

// Without a validator: it would send the document to a server of Swagger's.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [blankFields],
  validatorUrl: null,
  queryConfigEnabled: false,
  deepLinking: true,
  tryItOutEnabled: true,
});
