"""From bundles in a store (a bucket, a web server, the Hub) to the same bundles in a folder of this machine."""
