# Varnish in front of a store; the lab fills in names in braces.
vcl 4.1;

backend store {
    .host = "127.0.0.1";
    .port = "{STORE_PORT}";
}

sub vcl_recv {
    set req.url = "/{BUCKET}" + req.url;
}
