"""The bookshop: the four programs behind the demo, written as any small web service would be.

Nothing here knows that a mesh exists. Each program listens on `PORT`, calls its neighbours by name
(`http://reviews:9080/...`) through the proxy that `HTTP_PROXY` names, and needs only the standard library.
Run one by hand with `python -m lateen.cli.demo.bookshop.reviews v2`.
"""
