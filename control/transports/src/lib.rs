//! HTTP(S) and WebSocket(S) to the JSON API.
