"""CertificateNames between API server and sink, in every phase of a rotation."""
