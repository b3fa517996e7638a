# The image holds one static binary. It is built outside (`make image`), so that no base image is needed:
#   make build && cp <the path it prints> ./errand && docker build --tag errand .
# The same image is the controller, and the content of the volume that brings the supervisor into containers:
# the binary lies at /errand.
FROM scratch
COPY errand /errand
USER 65532:65532
ENTRYPOINT ["/errand"]
