"""What travels to a device: spec, preprocessing, decoding, NMS, the detector.

Python 3.8; the standard library, numpy, cv2 and one runtime, nothing else. A contract and a test hold that.
"""
