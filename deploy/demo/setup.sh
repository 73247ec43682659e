#!/bin/sh
# setup.sh DIR: writes into DIR what the walk in README.md needs: a throw-away CA, two certificates, and the
# configurations of signetd, notary-server and the notary client. Touches nothing else.
#
# Ports: SIGNER_PORT (default 7899) and SERVER_PORT (default 4443). Hosts: LISTEN_HOST is where both listen, SIGNER_HOST where
# notary-server finds signetd (default 127.0.0.1 each).
set -eu
dir=${1:?usage: setup.sh DIR}
signer_port=${SIGNER_PORT:-7899}
server_port=${SERVER_PORT:-4443}
listen_host=${LISTEN_HOST:-127.0.0.1}
signer_host=${SIGNER_HOST:-127.0.0.1}
umask 077
mkdir -p "$dir"
cd "$dir"

key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1.key"; }

key ca
openssl req -x509 -new -sha256 -key ca.key -days 30 -subj "/CN=Signet demo CA" -out ca.crt \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign

leaf() { # name extended-key-usage more-names
  key "$1"
  openssl req -new -sha256 -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1%s\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "${3:-}" "$2" >"$1.ext"
  openssl x509 -req -sha256 -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
  rm "$1.csr" "$1.ext"
}
case $signer_host in
127.0.0.1 | localhost) leaf signer serverAuth ;;
*) leaf signer serverAuth ",DNS:$signer_host" ;;
esac
leaf notary-server serverAuth,clientAuth

cat >signer.json <<JSON
{
  "server": {
    "grpc_addr": "$listen_host:$signer_port",
    "tls_cert_file": "signer.crt",
    "tls_key_file": "signer.key",
    "client_ca_file": "ca.crt"
  },
  "logging": { "level": "info" },
  "storage": { "backend": "file", "path": "keys" }
}
JSON
cat >server.json <<JSON
{
  "server": {
    "http_addr": "$listen_host:$server_port",
    "tls_cert_file": "notary-server.crt",
    "tls_key_file": "notary-server.key"
  },
  "trust_service": {
    "type": "remote",
    "hostname": "$signer_host",
    "port": "$signer_port",
    "key_algorithm": "ecdsa",
    "tls_ca_file": "ca.crt",
    "tls_client_cert": "notary-server.crt",
    "tls_client_key": "notary-server.key"
  },
  "logging": { "level": "error" },
  "storage": { "backend": "memory" }
}
JSON
cat >client.json <<JSON
{
  "trust_dir": "$(pwd)/trust",
  "remote_server": { "url": "https://127.0.0.1:$server_port", "root_ca": "ca.crt" }
}
JSON
echo "wrote certificates and configurations into $(pwd)"
