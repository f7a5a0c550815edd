# A node of Varnish: what it gets from the store is sent on while it comes, and kept whole.
vcl 4.1;

backend store {
    .host = "{STORE_HOST}";
    .port = "{STORE_PORT}";
    .connect_timeout = 2s;
    .first_byte_timeout = 5s;
    .between_bytes_timeout = 5s;
}

sub vcl_recv {
    set req.url = "/{BUCKET}" + req.url;
}

sub vcl_backend_response {
    set beresp.do_stream = true;
    set beresp.ttl = {REVALIDATE}s;
    set beresp.grace = 60s;
    set beresp.keep = 1d;
}
