package storetest

var cartCrowdTests = []test{}
