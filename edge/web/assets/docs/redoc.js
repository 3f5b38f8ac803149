const surface = new URLSearchParams(location.search).get("api") || "knowledge";
Redoc.init(`/openapi/${encodeURIComponent(surface)}.yaml`, { disableGoogleFont: true, nativeScrollbars: true }, document.getElementById("docs"));
