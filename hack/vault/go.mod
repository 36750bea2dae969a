// Kept out of the product's module: build.sh builds main.go within Vault's own.
module github.com/srenix/srenix/hack/vault

go 1.26.0
